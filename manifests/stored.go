package manifests

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"
)

// stored is the form in which a source keeps the last good version of an object on disk.
type stored struct {
	Version  int             `json:"version"`
	Sum      string          `json:"sha256"` // of Document, so that a damaged copy is not run
	Origin   Origin          `json:"origin"`
	NodeName string          `json:"nodeName"`
	Document json.RawMessage `json:"document"`
}

const storedVersion = 1

// Encode writes a pod that Decode made so that DecodeStored gives it back, UID and origin included, with the defaults of
// the agent that reads it.
func Encode(p *Pod) ([]byte, error) {
	if p.Document == nil {
		return nil, fmt.Errorf("encoding pod %s: it has no document", p.Key())
	}
	b, err := encodeStored(stored{Origin: p.Origin, NodeName: p.Object.Spec.NodeName, Document: p.Document})
	if err != nil {
		return nil, fmt.Errorf("encoding pod %s: %w", p.Key(), err)
	}
	return b, nil
}

// DecodeStored reads what Encode wrote. It fails on a damaged copy, on one of a version it does not know, and on a pod
// that this agent would not take from a file.
func DecodeStored(b []byte) (*Pod, error) {
	s, generic, err := decodeStored(b)
	if err != nil {
		return nil, fmt.Errorf("decoding a stored pod: %w", err)
	}
	doc, findings := decodeStrict[v1.Pod](s.Document, generic)
	var p *Pod
	if len(findings) == 0 {
		of := Options{NodeName: s.NodeName}
		if class := doc.Spec.RuntimeClassName; class != nil {
			of.RuntimeClasses = []string{*class} // it was taken once; its containers start while the node still has it
		}
		p, findings = build(doc, s.Origin, of)
	}
	if len(findings) > 0 {
		f := findings[0]
		return nil, fmt.Errorf("decoding the stored pod of %s: %s: %s", s.Origin, f.path, f.message)
	}
	return p, nil
}

// EncodeConfig writes a ConfigMap or a Secret so that DecodeStoredConfig gives it back. What it returns holds the values
// in the clear: keep it where only root reads.
func EncodeConfig(c *Config) ([]byte, error) {
	b, err := encodeStored(stored{Origin: c.Origin, Document: c.document})
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", c, err)
	}
	return b, nil
}

// DecodeStoredConfig reads what EncodeConfig wrote, with the checks of DecodeStored.
func DecodeStoredConfig(b []byte) (*Config, error) {
	s, generic, err := decodeStored(b)
	if err != nil {
		return nil, fmt.Errorf("decoding a stored ConfigMap or Secret: %w", err)
	}
	kind, _ := generic["kind"].(string)
	if !isConfig(kind) {
		return nil, fmt.Errorf("decoding a stored ConfigMap or Secret: it is of kind %q", kind)
	}
	c, findings := buildConfig(kind, s.Document, generic, s.Origin)
	if len(findings) > 0 {
		f := findings[0]
		return nil, fmt.Errorf("decoding the stored %s of %s: %s: %s", kind, s.Origin, f.path, f.message)
	}
	return c, nil
}

func encodeStored(s stored) ([]byte, error) {
	sum := sha256.Sum256(s.Document)
	s.Version, s.Sum = storedVersion, hex.EncodeToString(sum[:])
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// decodeStored checks a copy and returns it with its document as generic values.
func decodeStored(b []byte) (s stored, generic map[string]any, err error) {
	strict, err := kjson.UnmarshalStrict(b, &s)
	if err == nil {
		err = errors.Join(strict...)
	}
	if err != nil {
		return s, nil, err
	}
	if s.Version != storedVersion {
		return s, nil, fmt.Errorf("version %d is not known", s.Version)
	}
	if sum := sha256.Sum256(s.Document); hex.EncodeToString(sum[:]) != s.Sum {
		return s, nil, errors.New("the checksum does not match")
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(s.Document, &generic); err != nil {
		return s, nil, err
	}
	return s, generic, nil
}
