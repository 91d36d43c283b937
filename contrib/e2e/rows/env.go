package rows

func envRows() []Row {
	const beside = `
apiVersion: v1
kind: ConfigMap
metadata: {name: @NAME@}
data: {color: blue, greeting: hello}
---
apiVersion: v1
kind: Secret
metadata: {name: @NAME@}
stringData: {password: s3cret}
`
	return []Row{
		{
			Name: "variables refer to earlier ones", Fields: each(Both+"env[*].", "name", "value"),
			Container: "env: [{name: A, value: a}, {name: B, value: $(A)-b}, {name: C, value: $$(A) $(LATER)}, {name: LATER, value: later}]",
			Script:    `echo "$A|$B|$C"`, Says: "a|a-b|$(A) $(LATER)",
		},
		{
			Name: "ConfigMaps and Secrets become variables", Fields: each(Both, "envFrom[*].prefix", "envFrom[*].configMapRef", "envFrom[*].secretRef",
				"env[*].valueFrom.configMapKeyRef", "env[*].valueFrom.secretKeyRef"),
			Beside: beside,
			Container: `{envFrom: [{prefix: C_, configMapRef: {name: @NAME@}}, {secretRef: {name: @NAME@}}, {configMapRef: {name: none, optional: true}}],
				env: [{name: COLOR, valueFrom: {configMapKeyRef: {name: @NAME@, key: color}}}, {name: PASS, valueFrom: {secretKeyRef: {name: @NAME@, key: password}}},
				{name: NONE, valueFrom: {secretKeyRef: {name: @NAME@, key: none, optional: true}}}]}`,
			Script: `echo "$C_color $C_greeting $password $COLOR $PASS ${NONE-unset}"`, Says: "blue hello s3cret blue s3cret unset",
		},
		{
			Name: "the pod's own facts become variables", Fields: each(Both+"env[*].valueFrom.", "fieldRef"),
			Meta: "{labels: {app: web}, annotations: {why: because}}",
			Container: `env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: B, valueFrom: {fieldRef: {fieldPath: metadata.uid}}},
				{name: C, valueFrom: {fieldRef: {fieldPath: status.podIP}}}, {name: D, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}},
				{name: E, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['why']"}}}, {name: F, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]`,
			Script: "echo $A $B $C $D $E $F", Says: "@NAME@ @UID@ @IP@ web because @NODE@",
		},
		{
			Name: "resources become variables", Fields: each(Both+"env[*].valueFrom.", "resourceFieldRef"),
			Container: `{resources: {requests: {cpu: 100m, memory: 8Mi}, limits: {cpu: 1500m, memory: 32Mi}}, env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.memory}}},
				{name: B, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}, {name: C, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}},
				{name: D, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1Mi}}}]}`,
			Script: "echo $A $B $C $D", Says: "33554432 2 100 8",
		},
		{
			Name: "a file of a volume becomes variables", Fields: each(Both+"env[*].valueFrom.", "fileKeyRef"),
			Pod:       `{volumes: [{name: files, emptyDir: {}}], initContainers: [{name: writer, command: [sh, -c, "echo \"KEY='from a file'\" >/files/env"], volumeMounts: [{name: files, mountPath: /files}]}]}`,
			Container: "env: [{name: A, valueFrom: {fileKeyRef: {volumeName: files, path: env, key: KEY}}}]",
			Script:    "echo $A; ls /files 2>/dev/null", Says: "from a file",
		},
	}
}
