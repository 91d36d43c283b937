package manifests

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	kubeenv "k8s.io/kubernetes/pkg/kubelet/util/env"
)

func list(cpu, memory, storage string) v1.ResourceList {
	return v1.ResourceList{
		v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory),
		v1.ResourceEphemeralStorage: resource.MustParse(storage),
	}
}

var facts = Facts{
	PodIPs: []string{"10.1.0.7", "fd00::7"}, HostIPs: []string{"192.0.2.1", "2001:db8::1"}, Allocatable: list("4", "8Gi", "100Gi"),
	ReadVolumeFile: func(volume, path string) ([]byte, error) {
		if volume+"/"+path != "v/dir/env" {
			return nil, fs.ErrNotExist
		}
		return []byte("# made by init\nTOKEN='a b' # c\nLINES='1\n2'\nEMPTY=''\n"), nil
	},
}

// objects are what the pods of the tests may name. Configs made by config() hold the key k.
func objects(t *testing.T) []*Config {
	return configsOf(t, `
{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {b: cb, a: ca, x.y-z: dotted, SELF: $(a)}, binaryData: {bin: AAE=}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: sa, pw: hunter2}, data: {nul: YQBi}}
`)
}

func TestEnvironmentIsAsTheKubelets(t *testing.T) {
	const from = "envFrom: [{configMapRef: {name: c}}]\n"
	for name, test := range map[string]struct {
		spec string // of the container
		want string // NAME=value of each, in order
		err  string
		note string
	}{
		"plain values":                 {spec: "env: [{name: B, value: x}, {name: A}]", want: "B=x A="},
		"the last of equal names":      {spec: "env: [{name: A, value: x}, {name: B, value: b}, {name: A, value: z}]", want: "A=z B=b"},
		"references to earlier ones":   {spec: "env: [{name: A, value: $(B)}, {name: B, value: x}, {name: C, value: '$(A) $(B) $$(B) $(NO)'}]", want: "A=$(B) B=x C=$(B) x $(B) $(NO)"},
		"a reference to itself":        {spec: "env: [{name: P, value: a}, {name: P, value: '$(P):b'}]", want: "P=a:b"},
		"envFrom, keys sorted":         {spec: from, want: "SELF=$(a) a=ca b=cb x.y-z=dotted"},
		"envFrom is not expanded":      {spec: from + "env: [{name: Z, value: $(SELF)}]", want: "SELF=$(a) a=ca b=cb x.y-z=dotted Z=$(a)"},
		"env overrides envFrom":        {spec: from + "env: [{name: a, value: mine}]", want: "SELF=$(a) a=mine b=cb x.y-z=dotted"},
		"a later envFrom overrides":    {spec: "envFrom: [{configMapRef: {name: c}}, {secretRef: {name: s}}]", want: "SELF=$(a) a=sa b=cb x.y-z=dotted pw=hunter2", note: "Keys [nul] from the EnvFrom secret default/s were skipped since they are considered invalid environment variables."},
		"a prefix":                     {spec: "envFrom: [{prefix: P_, configMapRef: {name: c}}]", want: "P_SELF=$(a) P_a=ca P_b=cb P_x.y-z=dotted"},
		"an optional one missing":      {spec: "envFrom: [{configMapRef: {name: gone, optional: true}}, {secretRef: {name: gone, optional: true}}]", want: ""},
		"a ConfigMap missing":          {spec: "envFrom: [{configMapRef: {name: gone}}]", err: `configmap "gone" not found`},
		"a Secret missing":             {spec: "envFrom: [{secretRef: {name: gone}}]", err: `secret "gone" not found`},
		"keys":                         {spec: "env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: b}}}, {name: B, valueFrom: {secretKeyRef: {name: s, key: pw}}}]", want: "A=cb B=hunter2"},
		"a key missing":                {spec: "env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: gone}}}]", err: "couldn't find key gone in ConfigMap default/c"},
		"a key of a Secret missing":    {spec: "env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: gone}}}]", err: "couldn't find key gone in Secret default/s"},
		"a key of a missing ConfigMap": {spec: "env: [{name: A, valueFrom: {configMapKeyRef: {name: gone, key: a}}}]", err: `configmap "gone" not found`},
		"a key of binaryData":          {spec: "env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: bin}}}]", err: "couldn't find key bin in ConfigMap default/c"},
		"a value with a NUL":           {spec: "env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: nul}}}]", err: `the value of environment variable "A" contains a NUL byte`},
		"an optional key missing hides nothing": {
			spec: from + "env: [{name: a, valueFrom: {configMapKeyRef: {name: c, key: gone, optional: true}}}, {name: b, valueFrom: {secretKeyRef: {name: gone, key: x, optional: true}}}]",
			want: "SELF=$(a) a=ca b=cb x.y-z=dotted",
		},
		"fields of metadata": {
			spec: "env: [" + podField("A", "metadata.name") + podField("B", "metadata.namespace") + podField("C", "metadata.uid") + podField("D", "metadata.labels['app']") + podField("E", "metadata.annotations['example.org/note']") + podField("F", "metadata.labels['no']") + "]",
			want: "A=web B=default C=11111111-2222-8333-8444-555555555555 D=shop E=hello F=",
		},
		"fields of the node and the network": {
			spec: "env: [" + podField("A", "spec.nodeName") + podField("B", "spec.serviceAccountName") + podField("C", "status.hostIP") + podField("D", "status.hostIPs") + podField("E", "status.podIP") + podField("F", "status.podIPs") + "]",
			want: "A=box B= C=192.0.2.1 D=192.0.2.1,2001:db8::1 E=10.1.0.7 F=10.1.0.7,fd00::7",
		},
		"resources": {
			spec: "resources: {limits: {cpu: 1500m}, requests: {cpu: 250m, memory: 64Mi}}\nenv: [" + resourceField("A", "limits.cpu", "") + resourceField("B", "limits.cpu", "1m") + resourceField("C", "requests.cpu", "") + resourceField("D", "requests.memory", "1Mi") + resourceField("E", "requests.memory", "") + "]",
			want: "A=2 B=1500 C=1 D=64 E=67108864",
		},
		"limits that are not set are the node's": {
			spec: "env: [" + resourceField("A", "limits.cpu", "") + resourceField("B", "limits.memory", "1Gi") + resourceField("C", "limits.ephemeral-storage", "1Gi") + resourceField("D", "requests.cpu", "") + "]",
			want: "A=4 B=8 C=100 D=0",
		},
		"huge pages are never the node's": {
			spec: "resources: {limits: {hugepages-2Mi: 4Mi, cpu: 1, memory: 1Gi}}\nenv: [" + resourceField("A", "limits.hugepages-2Mi", "1Mi") + resourceField("B", "requests.hugepages-2Mi", "") + "]",
			want: "A=4 B=4194304",
		},
		"a resource of another container": {spec: "env: [{name: A, valueFrom: {resourceFieldRef: {containerName: other, resource: limits.cpu}}}]", want: "A=3"},
		"a file":                          {spec: "env: [" + envFile("A", "dir/env", "TOKEN", false) + envFile("B", "dir/env", "LINES", false) + "]", want: "A=a b B=1\n2"},
		"a file's key missing":            {spec: "env: [" + envFile("A", "dir/env", "NONE", false) + "]", err: `environment variable key "NONE" not found in file "dir/env" of volume "v"`},
		"a file's key empty":              {spec: "env: [" + envFile("A", "dir/env", "EMPTY", false) + "]", err: "not found in file"},
		"a file's optional key missing":   {spec: "env: [" + envFile("A", "dir/env", "NONE", true) + "]", want: ""},
		"a file missing":                  {spec: "env: [" + envFile("A", "missing", "A", false) + "]", err: `reading environment file "missing" of volume "v": file does not exist`},
		"an optional file missing":        {spec: "env: [" + envFile("A", "missing", "A", true) + "]", want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := podOf(t, `labels: {app: shop}, annotations: {example.org/note: hello}`,
				"volumes: [{name: v, emptyDir: {}}]\ncontainers:\n- name: a\n  image: x\n  "+strings.ReplaceAll(test.spec, "\n", "\n  ")+
					"\n- {name: other, image: x, resources: {limits: {cpu: 3}}}")
			p = Bind([]*Pod{p}, objects(t))[0]
			env, notes, err := Environment(p, &p.Object.Spec.Containers[0], facts)
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			var got []string
			for _, v := range env {
				got = append(got, v.Name+"="+v.Value)
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.note, strings.Join(notes, "")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func podField(name, path string) string {
	return `{name: ` + name + `, valueFrom: {fieldRef: {fieldPath: "` + path + `"}}}, `
}

func resourceField(name, resource, divisor string) string {
	s := "{name: " + name + ", valueFrom: {resourceFieldRef: {resource: " + resource
	if divisor != "" {
		s += ", divisor: " + divisor
	}
	return s + "}}}, "
}

func envFile(name, path, key string, optional bool) string {
	s := "{name: " + name + ", valueFrom: {fileKeyRef: {volumeName: v, path: " + path + ", key: " + key
	if optional {
		s += ", optional: true"
	}
	return s + "}}}, "
}

func TestLimitsOfThePodComeBeforeTheNodes(t *testing.T) {
	p := podOf(t, "", "resources: {limits: {cpu: 2, memory: 1Gi}}\ncontainers: [{name: a, image: x, env: ["+
		resourceField("A", "limits.cpu", "")+resourceField("B", "limits.memory", "1Mi")+resourceField("C", "limits.ephemeral-storage", "1Gi")+"]}]")
	env, _, err := Environment(p, &p.Object.Spec.Containers[0], facts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]EnvVar{{"A", "2"}, {"B", "1024"}, {"C", "100"}}, env); diff != "" {
		t.Error(diff)
	}
	if !facts.Allocatable.Cpu().Equal(resource.MustParse("4")) {
		t.Error("the node's facts were written to")
	}
}

// FuzzEnvFile holds our reading of an environment file against the kubelet's.
func FuzzEnvFile(f *testing.F) {
	for _, s := range []string{
		"KEY='a'", "KEY='a'\n", " \tKEY='a' # c\n", "X='1'\nKEY='2\n3'\n\n", "KEY = 'a'", "KEY= 'a'", "X= 'a'\nKEY='b'", "KEY=a", "KEY='a",
		"KEY='a'b", "='a'", "# c\n\n  # d\nKEY=''\n", "KEY='a\r\nb'\r\n", "X\nKEY='a'", "KEY='1'\nKEY='2'", "KEY='\n'", "KEY='\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 32<<10 {
			return // the kubelet reads no line longer than 64 KiB
		}
		name := t.TempDir() + "/env"
		write(t, name, data)
		want, wantErr := kubeenv.ParseEnv(name, "KEY")
		got, err := parseEnvFile(data, "KEY")
		if got != want || (err != nil) != (wantErr != nil) {
			t.Errorf("%q: got %q, %v; the kubelet %q, %v", data, got, err, want, wantErr)
		}
		if err != nil && !strings.Contains(wantErr.Error(), err.Error()) {
			t.Errorf("%q: got %v; the kubelet %v", data, err, wantErr)
		}
	})
}
