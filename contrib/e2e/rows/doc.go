// Package rows is the table of what proves each supported field of a pod: one Row for each effect, a small pod and a look
// at what it does, from inside the container (its output, its /proc, its mounts) or from the kernel (cgroups, namespaces,
// links), never at the agent's word alone.
//
//	all rows' pods start ──▶ every row is looked at ──▶ kill -9, a new agent ──▶ looked at again ──▶ manifests go ──▶ After
//
// Every row of one engine shares one agent, and rows wait side by side. To add a field: add it to the table in manifests,
// then a Row to the list in the file it belongs to. A test fails as long as either is missing. README's table of fields
// names the rows, by Proofs.
package rows
