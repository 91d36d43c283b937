package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"edgepod.dev/agent/manifests"
	"edgepod.dev/agent/podmgr"
	"github.com/distribution/reference"
)

func (s *Server) listImages(w http.ResponseWriter, r *http.Request) {
	list, err := s.Images.List(r.Context())
	if err != nil {
		writeError(w, err)
		return
	}
	if list == nil {
		list = []podmgr.Image{}
	}
	writeJSON(w, list)
}

// refParam reads ?ref=.
func refParam(r *http.Request) (string, error) {
	ref := r.URL.Query().Get("ref")
	if ref == "" {
		return "", badRequest("ref is missing")
	}
	return ref, nil
}

func (s *Server) pullImage(w http.ResponseWriter, r *http.Request) {
	ref, err := refParam(r)
	if err == nil {
		if _, perr := reference.ParseDockerRef(ref); perr != nil {
			err = badRequest(fmt.Sprintf("ref %q: %v", ref, perr))
		}
	}
	if err != nil {
		writeError(w, err)
		return
	}
	out := newImageStream(w)
	image, err := s.Images.Pull(r.Context(), ref, out.progress)
	out.end([]podmgr.Image{image}, err)
}

func (s *Server) importImages(w http.ResponseWriter, r *http.Request) {
	out := newImageStream(w)
	images, err := s.Images.Import(r.Context(), r.Body, out.progress)
	out.end(images, err)
}

// imageStream writes podmgr.ImageLines. Podmgr's law is that progress comes from one goroutine at a time.
type imageStream struct {
	encode func(any) error
	flush  func() error
	last   map[string]time.Time // when progress of a reference was last written
	status map[string]string
}

// progressEvery bounds how often one thing's progress is written while only its bytes grow.
const progressEvery = 100 * time.Millisecond

func newImageStream(w http.ResponseWriter) *imageStream {
	w.Header().Set("Content-Type", "application/json")
	c := http.NewResponseController(w)
	_ = c.EnableFullDuplex() // an import answers while its body is still coming
	return &imageStream{encode: json.NewEncoder(w).Encode, flush: c.Flush, last: map[string]time.Time{}, status: map[string]string{}}
}

func (s *imageStream) progress(p podmgr.Progress) {
	now := time.Now()
	if s.status[p.Ref] == p.Status && now.Sub(s.last[p.Ref]) < progressEvery && (p.Total == 0 || p.Done < p.Total) {
		return
	}
	s.last[p.Ref], s.status[p.Ref] = now, p.Status
	s.line(podmgr.ImageLine{Progress: &p})
}

// line writes one line. A client that left ends the request's context, and with it what is going on.
func (s *imageStream) line(l podmgr.ImageLine) {
	if s.encode(l) == nil {
		_ = s.flush()
	}
}

func (s *imageStream) end(images []podmgr.Image, err error) {
	if err != nil {
		s.line(podmgr.ImageLine{Error: err.Error()})
		return
	}
	s.line(podmgr.ImageLine{Images: images})
}

func (s *Server) removeImage(w http.ResponseWriter, r *http.Request) {
	ref, err := refParam(r)
	if err != nil {
		writeError(w, err)
		return
	}
	force, err := boolParam(r, "force")
	if err == nil && !force {
		err = s.unwanted(r, ref)
	}
	if err == nil {
		err = s.Images.Remove(r.Context(), ref)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// pinImage keeps an image that no manifest names, or with pinned=false stops keeping it.
func (s *Server) pinImage(w http.ResponseWriter, r *http.Request) {
	ref, err := refParam(r)
	pinned := true
	if err == nil && r.URL.Query().Has("pinned") {
		pinned, err = boolParam(r, "pinned")
	}
	if err == nil {
		err = s.Images.Pin(r.Context(), ref, pinned)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// unwanted returns an error when a wanted pod names the image ref, by this name or, when ref is a digest or an ID, by
// any other.
func (s *Server) unwanted(r *http.Request, ref string) error {
	names := []string{normal(ref)}
	list, err := s.Images.List(r.Context())
	if err != nil {
		return err
	}
	for _, i := range list {
		if i.ID == ref || i.Digest == ref || i.ID == "sha256:"+ref {
			names = append(names, i.Names...)
		}
		if i.ByHand && (i.ID == ref || i.Digest == ref || slices.Contains(i.Names, normal(ref))) {
			return conflict(fmt.Sprintf("image %q is pinned: unpin it first, or use force", ref))
		}
	}
	if user := s.userOf(names); user != nil {
		return conflict(fmt.Sprintf("image %q is used by pod %s: remove its manifest first, or use force", ref, user.Key))
	}
	return nil
}

// userOf is a wanted pod that names one of the images; nil without one.
func (s *Server) userOf(images []string) *podmgr.Entry {
	for _, e := range s.Board.List() {
		if e.Pod == nil || !e.Deleted.IsZero() {
			continue
		}
		for _, c := range manifests.Containers(e.Pod.Object) {
			if slices.Contains(images, normal(c.Image)) {
				return e
			}
		}
	}
	return nil
}

// normal is the full name of an image, "docker.io/library/nginx:latest" for "nginx".
func normal(ref string) string {
	n, err := reference.ParseDockerRef(ref)
	if err != nil {
		return ref
	}
	return n.String()
}
