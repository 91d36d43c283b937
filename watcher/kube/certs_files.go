//go:build !nokube

package kube

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// fileIdentity is the client certificate of a kubeconfig that somebody else looks after: it is read again when the
// kubeconfig, or a file that it names, has changed. What cannot be read leaves the last good one in use.
type fileIdentity struct {
	kubeconfig string

	mu     sync.Mutex // guards the rest; held while files are read, which a handshake has to wait for anyhow
	files  []string
	stamps []time.Time
	loaded *tls.Certificate
}

// Current implements identity. A certificate that has ended is still offered: the clock may be what is wrong.
func (f *fileIdentity) Current() *tls.Certificate {
	_ = f.load()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loaded
}

func (f *fileIdentity) load() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded != nil && !f.changed() {
		return nil
	}
	config, err := loadKubeconfig(f.kubeconfig)
	if err != nil {
		return err
	}
	files := []string{f.kubeconfig}
	for _, name := range []string{config.CertFile, config.KeyFile} {
		if name != "" {
			files = append(files, name)
		}
	}
	stamps := stampsOf(files) // before reading, so that a change meanwhile is seen next time
	if err := rest.LoadTLSFiles(config); err != nil {
		return fmt.Errorf("reading the client certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		return fmt.Errorf("reading the client certificate of %s: %w", f.kubeconfig, err)
	}
	f.files, f.stamps, f.loaded = files, stamps, &pair
	return nil
}

// changed says whether a file is another than when it was read.
func (f *fileIdentity) changed() bool {
	for i, s := range stampsOf(f.files) {
		if !s.Equal(f.stamps[i]) {
			return true
		}
	}
	return false
}

// stampsOf are the times of the last change; zero for a file that is not there.
func stampsOf(files []string) []time.Time {
	out := make([]time.Time, len(files))
	for i, name := range files {
		if st, err := os.Stat(name); err == nil {
			out[i] = st.ModTime()
		}
	}
	return out
}
