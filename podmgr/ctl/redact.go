package ctl

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
)

// redacted stands where a secret was.
const redacted = "REDACTED"

// redactor takes secrets out of what leaves the machine: by the names they go by, by their form, and wherever a value that
// a pod's environment gives a secret name comes up again.
type redactor struct {
	rules  []redaction
	values []string // longest first, so that none is a part of one that is yet to be replaced
}

type redaction struct {
	pattern *regexp.Regexp
	with    string
}

// secretName matches the names of things that are secret.
var secretName = regexp.MustCompile(`(?i)pass(word|wd|phrase|code)?$|pass(word|wd|phrase)|secret|token|credential|api[-_]?key|private[-_]?key|access[-_]?key|auth$|_key$|dsn$|connection[-_]?string`)

func newRedactor() *redactor {
	name := `[\w.-]*(?:pass(?:word|wd|phrase)|secret|token|credentials?|api[-_]?key|private[-_]?key|access[-_]?key)[\w.-]*`
	r := func(pattern, with string) redaction { return redaction{regexp.MustCompile(pattern), with} }
	return &redactor{rules: []redaction{
		r(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----`, redacted),
		r(`(?i)(authorization"?\s*[:=]\s*"?(?:bearer|basic)\s+)[^\s"',]+`, "${1}"+redacted),
		r(`(?i)\b(bearer\s+)[\w.~+/=-]{8,}`, "${1}"+redacted),
		r(`([a-zA-Z][\w+.-]*://[^/\s:@]*:)[^/\s@]+@`, "${1}"+redacted+"@"),
		r(`\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*`, redacted), // a JSON Web Token
		r(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_\w{30,}|\bglpat-[\w-]{20,}|\bxox[abprs]-[\w-]{10,}`, redacted),
		r(`(?i)(--?`+name+`[= ])("[^"]*"|'[^']*'|[^\s"',\]]+)`, "${1}"+redacted),
		// The same as two arguments, in JSON and in YAML.
		r(`(?i)("--?`+name+`"\s*,\s*)"(?:[^"\\]|\\.)*"`, `${1}"`+redacted+`"`),
		r(`(?im)^(\s*- "?--?`+name+`"?\n\s*- ).+$`, "${1}"+redacted),
		r(`(?i)("`+name+`"\s*:\s*)"(?:[^"\\]|\\.)+"`, `${1}"`+redacted+`"`),
		r(`(?i)\b(`+name+`\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s"',;&}\]]+)`, "${1}"+redacted),
	}}
}

// text is t without what looks like a secret.
func (r *redactor) text(t string) string {
	for _, v := range r.values {
		t = strings.ReplaceAll(t, v, redacted)
	}
	for _, rule := range r.rules {
		t = rule.pattern.ReplaceAllString(t, rule.with)
	}
	return t
}

// minSecret is the length below which a value is not looked for elsewhere: "1" is everywhere.
const minSecret = 6

// pod takes the values of a pod's environment that have a secret's name, and remembers them.
func (r *redactor) pod(p *v1.Pod) {
	for _, c := range manifests.Containers(p) {
		for j := range c.Env {
			e := &c.Env[j]
			if e.Value == "" || !secretName.MatchString(e.Name) {
				continue
			}
			if len(e.Value) >= minSecret {
				r.values = append(r.values, e.Value)
				if b, err := json.Marshal(e.Value); err == nil { // as it stands in the agent's answers
					r.values = append(r.values, string(b[1:len(b)-1]))
				}
			}
			e.Value = redacted
		}
	}
	slices.SortFunc(r.values, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	r.values = slices.Compact(r.values)
	delete(p.Annotations, v1.LastAppliedConfigAnnotation) // it has the environment as it was
}
