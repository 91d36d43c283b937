package containerd

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
)

// runAs is runAsUser and runAsGroup, the container's before the pod's.
func runAs(p *v1.Pod, c *v1.Container) (user, group *int64) {
	if psc := p.Spec.SecurityContext; psc != nil {
		user, group = psc.RunAsUser, psc.RunAsGroup
	}
	if sc := c.SecurityContext; sc != nil {
		if sc.RunAsUser != nil {
			user = sc.RunAsUser
		}
		if sc.RunAsGroup != nil {
			group = sc.RunAsGroup
		}
	}
	return user, group
}

// strictGroups says whether the image's /etc/group gives the container's user no groups (supplementalGroupsPolicy Strict).
func strictGroups(p *v1.Pod) bool {
	psc := p.Spec.SecurityContext
	return psc != nil && psc.SupplementalGroupsPolicy != nil && *psc.SupplementalGroupsPolicy == v1.SupplementalGroupsPolicyStrict
}

// checkNonRoot holds runAsNonRoot against the user that was resolved, at every start (CVE-2019-11245), in the kubelet's
// words.
func checkNonRoot(p *v1.Pod, c *v1.Container, who identityOf) error {
	var want *bool
	if p.Spec.SecurityContext != nil {
		want = p.Spec.SecurityContext.RunAsNonRoot
	}
	if c.SecurityContext != nil && c.SecurityContext.RunAsNonRoot != nil {
		want = c.SecurityContext.RunAsNonRoot
	}
	if want == nil || !*want {
		return nil
	}
	at := fmt.Sprintf("(pod: %q, container: %s)", p.Name+"_"+p.Namespace+"("+string(p.UID)+")", c.Name)
	user, _ := runAs(p, c)
	switch {
	case user != nil && who.uid == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy %s", at)
	case who.byName != "":
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", who.byName, at)
	case who.uid == 0:
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", at)
	}
	return nil
}
