package containerd

import (
	"context"
	"strings"

	"github.com/distribution/reference"
	v1 "k8s.io/api/core/v1"
)

// OfNode lists the images as a Node's status does: names by digest first, then by tag.
func (x *Images) OfNode(ctx context.Context) ([]v1.ContainerImage, error) {
	all, err := x.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]v1.ContainerImage, 0, len(all))
	for _, i := range all {
		var byDigest, byTag []string
		for _, name := range i.Names {
			repo, err := reference.ParseDockerRef(name)
			if err != nil {
				continue
			}
			if digest := repo.Name() + "@" + i.Digest; !strings.Contains(strings.Join(byDigest, " "), digest) {
				byDigest = append(byDigest, digest)
			}
			if _, tagged := repo.(reference.Tagged); tagged {
				byTag = append(byTag, name)
			}
		}
		out = append(out, v1.ContainerImage{Names: append(byDigest, byTag...), SizeBytes: i.Size})
	}
	return out, nil
}
