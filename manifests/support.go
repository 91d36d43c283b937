package manifests

import (
	"fmt"
	"slices"
	"strconv"
)

// Field is one row of the table of pod fields that this version supports. The table decides what is refused, and the
// README's table is made from it. The rows of contrib/e2e/rows prove each field.
type Field struct {
	// Path is the field; "[*]" stands for every element of a list. What lies below a row belongs to it.
	Path string
	// Note says what is special about it here; empty when it is as in Kubernetes.
	Note string
	// Since is the first version of the agent that has it.
	Since string

	// check returns why a value of the field is not supported; nil when all that Kubernetes allows are.
	check func(value any) string
	// idle returns what of a value is without effect here, for a warning; nil when nothing is.
	idle func(value any) string
}

const (
	first = "0.1"

	noMeaning = "accepted; no meaning on a single node"
	warned    = "accepted with a warning; no meaning on a single node"
	ownDNS    = "ClusterFirst and ClusterFirstWithHostNet mean Default on a node without cluster DNS"
)

// Fields returns the table in the order in which people read a manifest.
func Fields() []Field {
	var all []Field
	for _, rows := range [][]Field{
		metadataFields(), podFields(), containerFields("spec.containers[*]."), initFields(), securityFields(), volumeFields(), idleFields(),
	} {
		all = append(all, rows...)
	}
	return all
}

func metadataFields() []Field {
	return []Field{
		{Path: "apiVersion", Since: first},
		{Path: "kind", Since: first},
		{Path: "metadata.name", Since: first},
		{Path: "metadata.namespace", Since: first, Note: "default when missing; namespaces need not be created"},
		{Path: "metadata.labels", Since: first},
		{Path: "metadata.annotations", Since: first, Note: "kubernetes.io/ingress-bandwidth and egress-bandwidth by the CNI plugin", check: checkAnnotations},
		{Path: "metadata.generateName", Since: first, Note: "accepted beside metadata.name"},
		{Path: "metadata.ownerReferences", Since: first, Note: noMeaning, idle: always(noOwner)},
	}
}

func podFields() []Field {
	rows := []Field{
		{Path: "spec.restartPolicy", Since: first},
		{Path: "spec.terminationGracePeriodSeconds", Since: first},
		{Path: "spec.hostNetwork", Since: first},
		{Path: "spec.hostPID", Since: first},
		{Path: "spec.hostIPC", Since: first},
		{Path: "spec.shareProcessNamespace", Since: first},
		{Path: "spec.hostUsers", Since: next, Note: "false where kernel, OCI runtime and containerd can map IDs; the pod waits with the reason where they cannot"},
		{Path: "spec.runtimeClassName", Since: next, Note: "the names given with --runtime-class; a pod of another is refused when its file is read"},
		{Path: "spec.hostname", Since: first},
		{Path: "spec.subdomain", Since: next, Note: "in /etc/hosts; nothing answers for it in DNS without a cluster"},
		{Path: "spec.setHostnameAsFQDN", Since: next},
		{Path: "spec.hostnameOverride", Since: next},
		{Path: "spec.hostAliases", Since: first},
		{Path: "spec.dnsPolicy", Since: first, Note: ownDNS},
		{Path: "spec.dnsConfig", Since: first},
		{Path: "spec.activeDeadlineSeconds", Since: first},
		{Path: "spec.readinessGates", Since: next, Note: "others set the conditions: without an API server nobody does, and the pod stays unready"},
		{Path: "spec.imagePullSecrets", Since: next, Note: "one that is missing is left out, as with the kubelet"},
		{Path: "spec.resources.requests.cpu", Since: next},
		{Path: "spec.resources.requests.memory", Since: next},
		{Path: "spec.resources.limits.cpu", Since: next},
		{Path: "spec.resources.limits.memory", Since: next},
		{Path: "spec.os.name", Since: next, Note: "linux", check: oneOf("linux")},
	}
	return append(rows, hugePageFields("spec.resources.")...)
}

// hugePageFields are the huge pages among the resources at r, by the sizes that kernels have.
func hugePageFields(r string) (rows []Field) {
	for _, list := range []string{"requests.", "limits."} {
		for _, size := range []string{"2Mi", "1Gi"} {
			rows = append(rows, Field{Path: r + list + "hugepages-" + size, Since: next})
		}
	}
	return rows
}

// initFields are those of init containers and sidecars: a container's, less what only a main container can have.
func initFields() []Field {
	rows := containerFields("spec.initContainers[*].")
	for i := range rows {
		rows[i].Note = ""
	}
	return append(rows, containerSecurityFields("spec.initContainers[*].securityContext.")...)
}

// containerFields are those of a container at c.
func containerFields(c string) []Field {
	rows := []Field{
		{Path: c + "name", Since: first},
		{Path: c + "image", Since: first},
		{Path: c + "imagePullPolicy", Since: first, Note: "Always uses the image that is here when the registry cannot be reached"},
		{Path: c + "command", Since: first},
		{Path: c + "args", Since: first},
		{Path: c + "workingDir", Since: first},
		{Path: c + "env[*].name", Since: first},
		{Path: c + "env[*].value", Since: first},
		{Path: c + "ports", Since: first},
		{Path: c + "resources.requests.cpu", Since: first},
		{Path: c + "resources.requests.memory", Since: first},
		{Path: c + "resources.requests.ephemeral-storage", Since: first, Note: noMeaning},
		{Path: c + "resources.limits.cpu", Since: first},
		{Path: c + "resources.limits.memory", Since: first},
		{Path: c + "resources.limits.ephemeral-storage", Since: first, Note: "the pod is evicted that uses more, and one of a file begins anew"},
		{Path: c + "volumeMounts[*].name", Since: first},
		{Path: c + "volumeMounts[*].mountPath", Since: first},
		{Path: c + "volumeMounts[*].readOnly", Since: first},
		{Path: c + "terminationMessagePath", Since: first},
		{Path: c + "terminationMessagePolicy", Since: first},
		{Path: c + "restartPolicy", Since: first},
		{Path: c + "restartPolicyRules", Since: next},
		{Path: c + "stdin", Since: next, Note: "an attach that is over leaves it open; the end of the input ends the attach"},
		{Path: c + "stdinOnce", Since: next, Note: "closed when the first attach that has input is over"},
		{Path: c + "tty", Since: next},
		{Path: c + "livenessProbe", Since: first},
		{Path: c + "readinessProbe", Since: first},
		{Path: c + "startupProbe", Since: first},
		{Path: c + "lifecycle.postStart", Since: first},
		{Path: c + "lifecycle.preStop", Since: first},
		{Path: c + "lifecycle.stopSignal", Since: next},
		{Path: c + "resizePolicy", Since: next, Note: "of pods of an API server; another manifest is another pod"},
	}
	rows = append(rows, hugePageFields(c+"resources.")...)
	return slices.Concat(rows, environmentFields(c), mountFields(c))
}

func securityFields() []Field {
	const p = "spec.securityContext."
	rows := []Field{
		{Path: p + "runAsUser", Since: first},
		{Path: p + "runAsGroup", Since: first},
		{Path: p + "runAsNonRoot", Since: first},
		{Path: p + "supplementalGroups", Since: first},
		{Path: p + "fsGroup", Since: first, Note: "not for hostPath, as with the kubelet"},
		{Path: p + "fsGroupChangePolicy", Since: first, Note: "both are one here: volumes of the kinds it is for are new with their pod"},
		{Path: p + "supplementalGroupsPolicy", Since: next},
		{Path: p + "sysctls", Since: next, Note: "the kubelet's safe list, more with --allowed-unsafe-sysctls"},
		{Path: p + "seLinuxChangePolicy", Since: next, Note: "accepted; volumes keep the labels they have"},
	}
	rows = append(rows, profileFields(p)...)
	return append(rows, containerSecurityFields("spec.containers[*].securityContext.")...)
}

// containerSecurityFields are those of a container's security context at c.
func containerSecurityFields(c string) []Field {
	return append([]Field{
		{Path: c + "privileged", Since: first},
		{Path: c + "capabilities.add", Since: first},
		{Path: c + "capabilities.drop", Since: first},
		{Path: c + "runAsUser", Since: first},
		{Path: c + "runAsGroup", Since: first},
		{Path: c + "runAsNonRoot", Since: first},
		{Path: c + "readOnlyRootFilesystem", Since: first},
		{Path: c + "allowPrivilegeEscalation", Since: first},
		{Path: c + "procMount", Since: next, Note: "Unmasked with hostUsers: false only"},
	}, profileFields(c)...)
}

// profileFields are those of a security context at c, a pod's or a container's, about the kernel's security modules.
func profileFields(c string) []Field {
	return []Field{
		{Path: c + "seccompProfile", Since: first, Note: "RuntimeDefault when missing; Localhost profiles below --root/seccomp"},
		{Path: c + "appArmorProfile", Since: next, Note: "where the kernel has AppArmor; the pod is rejected where it does not"},
		{Path: c + "seLinuxOptions", Since: next, Note: "where the host has SELinux; without effect where it does not"},
	}
}

func volumeFields() []Field {
	return append([]Field{
		{Path: "spec.volumes[*].name", Since: first},
		{Path: "spec.volumes[*].hostPath.path", Since: first},
		{Path: "spec.volumes[*].hostPath.type", Since: first},
	}, configVolumeFields()...)
}

func oneOf(allowed ...string) func(any) string {
	return func(v any) string {
		for _, a := range allowed {
			if v == a {
				return ""
			}
		}
		return fmt.Sprintf("%v is not supported by this version", quoted(v))
	}
}

func quoted(v any) any {
	if s, ok := v.(string); ok {
		return strconv.Quote(s)
	}
	return v
}

// checkAnnotations refuses the annotations that ask the node for something it would not do.
func checkAnnotations(v any) string {
	m, _ := v.(map[string]any)
	for _, name := range sortedKeys(m) {
		switch {
		case name == AnnotationRestartOnConfigChange && m[name] != "true" && m[name] != "false":
			return fmt.Sprintf("the annotation %q must be \"true\" or \"false\"", name)
		case name == annotationIngress, name == annotationEgress:
			text, _ := m[name].(string)
			if _, _, err := Bandwidth(map[string]string{name: text}); err != nil {
				return err.Error()
			}
		}
	}
	return ""
}
