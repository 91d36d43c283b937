package server

import (
	"net/http"

	"edgepod.dev/agent/manifests"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// metaOf is what a ConfigMap or Secret of a manifest has in common.
func metaOf(c *manifests.Config) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name, Annotations: map[string]string{FileAnnotation: c.Origin.String()}}
}

func (s *Server) configMaps(w http.ResponseWriter, _ *http.Request) {
	list := &v1.ConfigMapList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMapList"}, Items: []v1.ConfigMap{}}
	for _, c := range s.Board.Configs() {
		if c.Kind != manifests.KindConfigMap {
			continue
		}
		m := v1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: c.Kind}, ObjectMeta: metaOf(c), Data: map[string]string{}}
		for _, k := range c.Keys() {
			if text, ok := c.Text(k); ok {
				m.Data[k] = text
				continue
			}
			if m.BinaryData == nil {
				m.BinaryData = map[string][]byte{}
			}
			m.BinaryData[k], _ = c.Bytes(k)
		}
		list.Items = append(list.Items, m)
	}
	writeJSON(w, list)
}

// secrets lists Secrets with their keys; each value is null, whoever asks.
func (s *Server) secrets(w http.ResponseWriter, _ *http.Request) {
	list := &v1.SecretList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "SecretList"}, Items: []v1.Secret{}}
	for _, c := range s.Board.Configs() {
		if c.Kind != manifests.KindSecret {
			continue
		}
		m := v1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: c.Kind}, ObjectMeta: metaOf(c), Type: c.Type, Data: map[string][]byte{}}
		for _, k := range c.Keys() {
			m.Data[k] = nil
		}
		list.Items = append(list.Items, m)
	}
	writeJSON(w, list)
}

func (s *Server) node(w http.ResponseWriter, r *http.Request) {
	if s.Node == nil {
		writeError(w, notHere("the node"))
		return
	}
	n, err := s.Node(r.Context())
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, n)
}
