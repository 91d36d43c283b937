package manifests

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
)

// The kinds of configuration that pods take data from.
const (
	KindConfigMap = "ConfigMap"
	KindSecret    = "Secret"
)

// ConfigKey names a ConfigMap or a Secret of a source.
type ConfigKey struct {
	Kind      string
	Namespace string
	Name      string
}

// String is the key as kubectl writes it with the kind in front, `configmap "namespace/name"`.
func (k ConfigKey) String() string {
	return fmt.Sprintf("%s %q", lowerKind(k.Kind), k.Namespace+"/"+k.Name)
}

// Config is a ConfigMap or a Secret beside the pods, decoded and validated. It is immutable. Its values leave it by Text
// and Bytes only: no way of printing or marshalling a Config shows them.
type Config struct {
	ConfigKey
	// Origin says where the document was read, for people.
	Origin Origin
	// Type is the type of a Secret, such as kubernetes.io/dockerconfigjson; empty for a ConfigMap.
	Type v1.SecretType

	data     map[string][]byte
	binary   map[string]bool // keys of binaryData, which no environment variable can take
	document []byte          // as canonical JSON, values included
	hash     string
}

// Keys lists the keys of the data, sorted.
func (c *Config) Keys() []string { return slices.Sorted(maps.Keys(c.data)) }

// Bytes is the value of a key, for a file. It is shared: do not write to it.
func (c *Config) Bytes(key string) ([]byte, bool) {
	v, ok := c.data[key]
	return v, ok
}

// Text is the value of a key for an environment variable; the binaryData of a ConfigMap has none.
func (c *Config) Text(key string) (string, bool) {
	v, ok := c.data[key]
	if !ok || c.binary[key] {
		return "", false
	}
	return string(v), true
}

// Hash tells two versions of the data apart.
func (c *Config) Hash() string { return c.hash }

// String names the object, never its values.
func (c Config) String() string { return c.ConfigKey.String() }

// Format makes every verb of fmt print String, %#v and %+v included.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// Equal compares two objects by what they say and where they stand.
func (c *Config) Equal(d *Config) bool {
	if c == nil || d == nil {
		return c == d
	}
	return c.ConfigKey == d.ConfigKey && c.Origin == d.Origin && c.hash == d.hash && string(c.document) == string(d.document)
}

// hashConfig is the hash of kind, type and data; names are no part of it.
func hashConfig(c *Config) string {
	h := sha256.New()
	writeHash(h, c.Kind, string(c.Type))
	for _, k := range c.Keys() {
		writeHash(h, k, string(c.data[k]))
		if c.binary[k] {
			writeHash(h, "binary")
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// writeHash writes texts with their lengths, so that no two lists of texts are the same bytes.
func writeHash(h hash.Hash, texts ...string) {
	for _, t := range texts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(t)))
		h.Write(n[:])
		io.WriteString(h, t) //nolint:errcheck // a hash never fails to be written
	}
}

func lowerKind(kind string) string {
	if kind == KindConfigMap {
		return "configmap"
	}
	return "secret"
}
