package manifests

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Annotations that bound a pod's traffic in bits per second, as Kubernetes' kubenet and CNI's bandwidth plugin have them.
const (
	annotationIngress = "kubernetes.io/ingress-bandwidth"
	annotationEgress  = "kubernetes.io/egress-bandwidth"
)

// bandwidthBounds are those of both (k8s.io/kubernetes/pkg/util/bandwidth).
func bandwidthBounds() (least, most resource.Quantity) {
	return resource.MustParse("1k"), resource.MustParse("1P")
}

// Bandwidth is what the annotations of a pod ask for, in bits per second; 0 is no bound.
func Bandwidth(annotations map[string]string) (ingress, egress uint64, err error) {
	least, most := bandwidthBounds()
	for name, to := range map[string]*uint64{annotationIngress: &ingress, annotationEgress: &egress} {
		text, ok := annotations[name]
		if !ok {
			continue
		}
		q, err := resource.ParseQuantity(text)
		switch {
		case err != nil:
			return 0, 0, fmt.Errorf("the annotation %q is no quantity such as 10M: %w", name, err)
		case q.Cmp(least) < 0:
			return 0, 0, fmt.Errorf("the annotation %q is unreasonably small (< 1kbit)", name)
		case q.Cmp(most) > 0:
			return 0, 0, fmt.Errorf("the annotation %q is unreasonably large (> 1Pbit)", name)
		}
		*to = uint64(q.Value()) //nolint:gosec // between the bounds
	}
	return ingress, egress, nil
}
