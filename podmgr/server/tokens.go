package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// tokenFile is an Authenticator over a file in the API server's static token format, one caller a line:
//
//	token,user,uid[,"group1,group2"]
//
// The file is read again when it changes. One that cannot be read then admits nobody, rather than who was thrown out.
type tokenFile struct {
	path string

	mu     sync.Mutex // guards the rest; held while the file is read, which a request has to wait for anyhow
	stamp  fileStamp
	tokens []token
	err    error
}

type token struct {
	sum    [sha256.Size]byte
	caller Caller
}

// minToken is the least length of a token in bytes: what is shorter can be guessed.
const minToken = 16

// fileStamp tells two states of a file apart.
type fileStamp struct {
	changed time.Time
	size    int64
}

func stampOf(path string) (fileStamp, error) {
	st, err := os.Stat(path)
	if err != nil {
		return fileStamp{}, err
	}
	return fileStamp{st.ModTime(), st.Size()}, nil
}

func openTokens(path string) (*tokenFile, error) {
	f := &tokenFile{path: path}
	f.load()
	return f, f.err
}

// load reads the file when it has changed. The caller holds mu, or is alone.
func (f *tokenFile) load() {
	stamp, err := stampOf(f.path)
	if err == nil && stamp == f.stamp && f.err == nil {
		return
	}
	f.tokens, f.stamp = nil, stamp
	var b []byte
	if err == nil {
		b, err = os.ReadFile(f.path)
	}
	if err == nil {
		f.tokens, err = parseTokens(b)
	}
	if f.err = err; err != nil {
		f.err = fmt.Errorf("reading the token file: %w", err)
	}
}

func parseTokens(b []byte) ([]token, error) {
	r := csv.NewReader(bytes.NewReader(b))
	r.FieldsPerRecord, r.Comment, r.TrimLeadingSpace = -1, '#', true
	records, err := r.ReadAll()
	if err != nil {
		return nil, errors.New("it is no CSV") // the parser's error could show a token
	}
	var out []token
	for i, rec := range records {
		switch {
		case len(rec) < 3 || rec[1] == "":
			return nil, fmt.Errorf("record %d: want token,user,uid[,groups]", i+1)
		case len(rec[0]) < minToken:
			return nil, fmt.Errorf("record %d: the token of %q is shorter than %d bytes", i+1, rec[1], minToken)
		}
		t := token{sum: sha256.Sum256([]byte(rec[0])), caller: Caller{Name: rec[1]}}
		if len(rec) > 3 {
			for g := range strings.SplitSeq(rec[3], ",") {
				if g = strings.TrimSpace(g); g != "" {
					t.caller.Groups = append(t.caller.Groups, g)
				}
			}
		}
		out = append(out, t)
	}
	return out, nil
}

// Authenticate implements Authenticator.
func (f *tokenFile) Authenticate(r *http.Request) (Caller, error) {
	sent := bearer(r)
	if sent == "" {
		return Caller{}, ErrNoCredentials
	}
	f.mu.Lock()
	f.load()
	tokens := f.tokens
	f.mu.Unlock()
	sum := sha256.Sum256([]byte(sent))
	found := Caller{}
	for _, t := range tokens {
		if subtle.ConstantTimeCompare(t.sum[:], sum[:]) == 1 {
			found = t.caller
		}
	}
	if found.Name == "" {
		return Caller{}, ErrNoCredentials // it may be another authenticator's
	}
	return found, nil
}
