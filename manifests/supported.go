package manifests

import (
	"strconv"
	"strings"
)

const notSupported = "not supported by this version"

// checkSupport finds each field of a document that the table does not have, at the topmost level that it does not have,
// and each value that its row refuses.
func checkSupport(doc map[string]any) []finding {
	s := support{rows: map[string]Field{}, above: map[string]bool{}}
	for _, f := range Fields() {
		s.rows[f.Path] = f
		for p := f.Path; ; {
			i := strings.LastIndexAny(p, ".[")
			if i <= 0 {
				break
			}
			p = p[:i]
			s.above[p] = true
		}
	}
	s.members(doc, "", "")
	return s.findings
}

// support walks a document along the table. above holds the paths that have rows below them.
type support struct {
	rows     map[string]Field
	above    map[string]bool
	findings []finding
}

// members visits an object; pattern is path with its list indices replaced by "*".
func (s *support) members(m map[string]any, path, pattern string) {
	for _, name := range sortedKeys(m) {
		s.visit(m[name], join(path, name), join(pattern, name))
	}
}

func (s *support) visit(v any, path, pattern string) {
	row, known := s.rows[pattern]
	if !known && !s.above[pattern] {
		if !empty(v) {
			s.findings = append(s.findings, finding{path: path, message: notSupported, hint: refusalHint(pattern)})
		}
		return
	}
	if known && row.check != nil {
		if reason := row.check(v); reason != "" {
			f := finding{path: path, message: reason}
			if row.Note != "" {
				f.hint = "supported: " + row.Note
			}
			s.findings = append(s.findings, f)
		}
	}
	if known && row.idle != nil && !empty(v) {
		if why := row.idle(v); why != "" {
			s.findings = append(s.findings, finding{path: path, message: why, warning: true})
		}
	}
	if !s.above[pattern] {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		s.members(v, path, pattern)
	case []any:
		for i, e := range v {
			s.visit(e, path+"["+strconv.Itoa(i)+"]", pattern+"[*]")
		}
	}
}

func empty(v any) bool {
	list, ok := v.([]any)
	return v == nil || ok && len(list) == 0
}

// refusalHint says what to write instead of a field that people often have in a manifest.
func refusalHint(pattern string) string {
	if kind, ok := strings.CutPrefix(pattern, "spec.volumes[*]."); ok {
		for _, r := range RefusedVolumes() {
			if r.Kind == kind {
				return r.Reason
			}
		}
	}
	switch pattern {
	case "spec.volumes[*].projected.sources[*].serviceAccountToken":
		return needsToken
	case "spec.volumes[*].projected.sources[*].clusterTrustBundle", "spec.volumes[*].projected.sources[*].podCertificate":
		return needsAPIServer
	case "metadata.deletionTimestamp", "metadata.deletionGracePeriodSeconds":
		return "the pod was being deleted when it was exported; remove the field"
	}
	return ""
}
