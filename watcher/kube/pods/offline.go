package pods

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/rs/zerolog"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// offline keeps the last known pods of the API server with all they need in one file. Owner: the goroutine of Run.
type offline struct {
	file string
	key  []byte
	log  zerolog.Logger
	sum  [sha256.Size]byte // of what was written last
	// next is when there is something to write; zero: there is not. last is when that was done last.
	next, last time.Time
}

const keptVersion = 1

// sealedMagic begins a file that is encrypted: AES-256-GCM with a nonce of 12 bytes after it, the key being the SHA-256 of
// the configured bytes.
var sealedMagic = []byte("agent-kept-1\n")

// kept is what the file holds.
type kept struct {
	Version    int
	Server     string
	Node       string
	Pods       []*v1.Pod
	ConfigMaps []*v1.ConfigMap
	Secrets    []*v1.Secret
	Tokens     []keptToken
	Claims     []keptClaim
	Services   []service
}

// load takes over what an earlier agent kept, and returns whether it kept anything. Pods of a node of another name are none
// of ours; an API server may have moved, and confirms the pods or not. A file that cannot be read is a warning, not an error.
func (p *Pods) load() bool {
	k, err := p.offline.read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false
	case err != nil:
		p.cfg.Log.Warn().Err(err).Msg("the pods kept for the time without an API server cannot be read")
		return false
	case k.Node != p.cfg.NodeName:
		return false
	}
	p.set.preload(k.Pods)
	var objects []runtime.Object
	for _, c := range k.ConfigMaps {
		objects = append(objects, c)
	}
	for _, s := range k.Secrets {
		objects = append(objects, s)
	}
	p.objects.preload(objects)
	p.tokens.preload(k.Tokens)
	p.claims.preload(k.Claims)
	p.services.preload(k.Services)
	return true
}

// keep writes what a next agent needs when the API server is away, if it differs.
func (p *Pods) keep(s *manifests.Snapshot) {
	if p.offline.file == "" {
		return
	}
	now := time.Now()
	k := kept{Version: keptVersion, Server: p.cfg.Server, Node: p.cfg.NodeName, Claims: p.claims.keep(), Services: p.services.keep()}
	for _, pod := range s.Pods {
		o := *pod.Object
		if o.Status.StartTime == nil { // admitted, whether the API server was told or not
			o.Status.StartTime = &o.CreationTimestamp
		}
		k.Pods = append(k.Pods, &o)
		_, raw, _ := p.objects.get(keysOf(pod.Object), now)
		for _, x := range raw {
			switch x := x.(type) {
			case *v1.ConfigMap:
				if !slices.Contains(k.ConfigMaps, x) {
					k.ConfigMaps = append(k.ConfigMaps, x)
				}
			case *v1.Secret:
				if !slices.Contains(k.Secrets, x) {
					k.Secrets = append(k.Secrets, x)
				}
			}
		}
		_, tokens, _ := p.tokens.files(pod.Object, now)
		k.Tokens = append(k.Tokens, tokens...)
	}
	sortKept(&k)
	p.offline.write(k, now)
}

// write makes the file hold k, whole or not at all, even through a power cut. An unchanged k writes nothing.
func (o *offline) write(k kept, now time.Time) {
	b, err := json.Marshal(k)
	if err != nil {
		o.log.Error().Err(err).Msg("encoding the pods kept for the time without an API server")
		return
	}
	sum := sha256.Sum256(b)
	o.next, o.last = time.Time{}, now
	if sum == o.sum {
		return
	}
	if b, err = o.seal(b); err == nil {
		err = writeDurably(o.file, b)
	}
	if err != nil {
		o.next = now.Add(10 * time.Second)
		o.log.Warn().Err(err).Msg("the pods cannot be kept for the time without an API server")
		return
	}
	o.sum = sum
}

// keepEvery bounds how often the file is written: flash wears out.
const keepEvery = time.Second

// due notes that there is something to write.
func (o *offline) due() {
	if o.file != "" && o.next.IsZero() {
		o.next = o.last.Add(keepEvery)
	}
}

// wait says when to write, if at all.
func (o *offline) wait(now time.Time) (time.Duration, bool) { return o.next.Sub(now), !o.next.IsZero() }

func (o *offline) read() (kept, error) {
	if o.file == "" {
		return kept{}, fs.ErrNotExist
	}
	b, err := os.ReadFile(o.file)
	if err != nil {
		return kept{}, fmt.Errorf("reading the kept pods: %w", err)
	}
	sealed := bytes.HasPrefix(b, sealedMagic)
	if b, err = o.open(b); err != nil {
		return kept{}, fmt.Errorf("reading %s: %w", o.file, err)
	}
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return kept{}, fmt.Errorf("decoding %s: %w", o.file, err)
	}
	if k.Version != keptVersion {
		return kept{}, fmt.Errorf("reading %s: version %d is not known", o.file, k.Version)
	}
	if sealed == (len(o.key) > 0) { // else it is written anew, whatever it holds
		o.sum = sha256.Sum256(b)
	}
	return k, nil
}

// seal encrypts when there is a key.
func (o *offline) seal(b []byte) ([]byte, error) {
	if len(o.key) == 0 {
		return b, nil
	}
	gcm, err := o.gcm()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	_, _ = rand.Read(nonce) // it never fails
	return gcm.Seal(slices.Concat(sealedMagic, nonce), nonce, b, sealedMagic), nil
}

// open is the inverse of seal. A file in the clear is read even when there is a key now: the next write encrypts it.
func (o *offline) open(b []byte) ([]byte, error) {
	rest, sealed := bytes.CutPrefix(b, sealedMagic)
	switch {
	case !sealed:
		return b, nil
	case len(o.key) == 0:
		return nil, errors.New("it is encrypted, and no key is configured")
	}
	gcm, err := o.gcm()
	if err != nil {
		return nil, err
	}
	if len(rest) < gcm.NonceSize() {
		return nil, errors.New("it is cut off")
	}
	return gcm.Open(nil, rest[:gcm.NonceSize()], rest[gcm.NonceSize():], sealedMagic)
}

func (o *offline) gcm() (cipher.AEAD, error) {
	key := sha256.Sum256(o.key)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// writeDurably replaces a file that only root may read.
func writeDurably(file string, b []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(file+".part", file); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sortKept gives what comes out of maps an order, so that the same set is the same bytes.
func sortKept(k *kept) {
	slices.SortFunc(k.ConfigMaps, func(a, b *v1.ConfigMap) int { return compareNames(a.Namespace, a.Name, b.Namespace, b.Name) })
	slices.SortFunc(k.Secrets, func(a, b *v1.Secret) int { return compareNames(a.Namespace, a.Name, b.Namespace, b.Name) })
	slices.SortFunc(k.Tokens, func(a, b keptToken) int {
		if a.Key.UID != b.Key.UID {
			return compareNames("", string(a.Key.UID), "", string(b.Key.UID))
		}
		if a.Key.Audience != b.Key.Audience {
			return compareNames("", a.Key.Audience, "", b.Key.Audience)
		}
		return int(a.Key.Seconds - b.Key.Seconds)
	})
}
