package manifests

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	kjson "sigs.k8s.io/json"
)

// stored is the form in which a source keeps the last good version of a pod on disk.
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
	sum := sha256.Sum256(p.Document)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(stored{
		Version: storedVersion, Sum: hex.EncodeToString(sum[:]), Origin: p.Origin,
		NodeName: p.Object.Spec.NodeName, Document: p.Document,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding pod %s: %w", p.Key(), err)
	}
	return b.Bytes(), nil
}

// DecodeStored reads what Encode wrote. It fails on a damaged copy, on one of a version it does not know, and on a pod
// that this agent would not take from a file.
func DecodeStored(b []byte) (*Pod, error) {
	var s stored
	if strict, err := kjson.UnmarshalStrict(b, &s); err != nil {
		return nil, fmt.Errorf("decoding a stored pod: %w", err)
	} else if err := errors.Join(strict...); err != nil {
		return nil, fmt.Errorf("decoding a stored pod: %w", err)
	}
	if s.Version != storedVersion {
		return nil, fmt.Errorf("decoding a stored pod: version %d is not known", s.Version)
	}
	if sum := sha256.Sum256(s.Document); hex.EncodeToString(sum[:]) != s.Sum {
		return nil, errors.New("decoding a stored pod: the checksum does not match")
	}
	var generic map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(s.Document, &generic); err != nil {
		return nil, fmt.Errorf("decoding a stored pod: %w", err)
	}
	doc, findings := decodeStrict(s.Document, generic)
	var p *Pod
	if len(findings) == 0 {
		p, findings = build(doc, s.Origin, Options{NodeName: s.NodeName})
	}
	if len(findings) > 0 {
		f := findings[0]
		return nil, fmt.Errorf("decoding the stored pod of %s: %s: %s", s.Origin, f.path, f.message)
	}
	return p, nil
}
