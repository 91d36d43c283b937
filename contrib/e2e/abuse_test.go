package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"edgepod.dev/agent/contrib/e2e/node"
)

// watchHealth asks for /healthz over a connection of its own, again and again, until stop is called, which returns how long
// the answers took, sorted.
func watchHealth(t *testing.T, client *http.Client, url string) (stop func() []time.Duration) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan []time.Duration)
	go func() {
		var took []time.Duration
		for ctx.Err() == nil {
			begin := time.Now()
			r, err := client.Get(url)
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("/healthz did not answer: %v", err)
				}
				break
			}
			b, _ := io.ReadAll(r.Body)
			_ = r.Body.Close()
			if r.StatusCode != http.StatusOK {
				t.Errorf("/healthz says %s: %s", r.Status, b)
			}
			took = append(took, time.Since(begin))
			time.Sleep(10 * time.Millisecond)
		}
		client.CloseIdleConnections()
		slices.Sort(took)
		done <- took
	}()
	return func() []time.Duration { cancel(); return <-done }
}

// slowest is how long all but one answer in twenty took at most: this process, which makes the abuse, asks on the same cores.
func slowest(took []time.Duration) time.Duration {
	if len(took) == 0 {
		return 0
	}
	return took[len(took)*95/100]
}

// resources is what the agent's process holds.
type resources struct{ goroutines, files int }

func resourcesOf(t *testing.T, n *node.Node) (r resources) {
	t.Helper()
	r.goroutines = int(value(scrape(t, n, "/metrics"), "go_goroutines"))
	dir := fmt.Sprintf("/proc/%d/fd", n.Pid())
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	r.files = len(entries)
	return r
}

// anonymous is the agent's anonymous memory in bytes.
func anonymous(t *testing.T, n *node.Node) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	kb := 0
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "RssAnon: %d kB", &kb)
	}
	return kb << 10
}

// TestAbuse: what strangers and careless programs do to the API disturbs neither pods nor those who look after them.
func TestAbuse(t *testing.T) {
	n := node.New(t, node.Options{Engine: node.Embedded, Bin: built.bin, Args: []string{"--mass-removal-grace", "0"}, Archives: []string{built.busybox}})
	d := openDoor(t, n)
	n.Start()
	d.wait()
	const pods = 4
	var names []string
	for i := range pods {
		name := "p" + strconv.Itoa(i)
		names = append(names, name)
		n.Apply(node.Pod(name, "while :; do echo $(date) $(head -c 2000 /dev/zero | tr '\\0' x); sleep 0.2 & wait $!; done"))
	}
	n.WaitRunning(names...)
	d.client() // what a first TLS connection brings stays
	before, pids := resourcesOf(t, n), node.Identity(n.Apps())
	for _, c := range []struct {
		name  string
		abuse func(*testing.T, *node.Node, *door)
	}{
		{"two thousand connections that say little", slowloris},
		{"bodies of a gigabyte", hugeBodies},
		{"a thousand followers that do not read", stalledFollowers},
		{"five hundred execs a second", manyExecs},
	} {
		t.Run(c.name, func(t *testing.T) {
			n.Use(t)
			watch := func() map[string]func() []time.Duration {
				return map[string]func() []time.Duration{
					"the socket": watchHealth(t, n.HTTP(), "http://agent/healthz"),
					"the door":   watchHealth(t, clientFrom(d, "127.0.0.9"), d.url("/healthz", nil).String()),
				}
			}
			// What others do on this machine delays every answer: the limit is 100 ms, or three times what it takes now.
			limit := 100 * time.Millisecond
			quiet := watch()
			time.Sleep(time.Second)
			for _, stop := range quiet {
				limit = max(limit, 3*slowest(stop()))
			}
			health := watch()
			c.abuse(t, n, d)
			for where, stop := range health {
				took := stop()
				if len(took) < 20 {
					t.Fatalf("/healthz at %s answered %d times only", where, len(took))
				}
				t.Logf("/healthz at %s: %d answers, half within %v, 95%% within %v, the last %v", where, len(took), took[len(took)/2], slowest(took), took[len(took)-1])
				if slow := slowest(took); slow > limit {
					t.Errorf("/healthz at %s took up to %v, want less than %v", where, slow, limit)
				}
			}
			n.Within(20*time.Second, "what the abuse took to be given back", func() string {
				now := resourcesOf(t, n)
				if now.goroutines > before.goroutines+10 || now.files > before.files+10 {
					return fmt.Sprintf("%+v, before it were %+v", now, before)
				}
				return ""
			})
			for _, p := range pidsWithout(pids, node.Identity(n.Apps())) {
				t.Errorf("process %s of a pod is gone", p)
			}
		})
	}
}

// pidsWithout are the shells of the pods that are gone; what they start comes and goes.
func pidsWithout(before, now []string) (gone []string) {
	for _, p := range before {
		if strings.Contains(p, "while") && !slices.Contains(now, p) {
			gone = append(gone, p)
		}
	}
	return gone
}

// clientFrom is a client of the door that comes from another address of the loopback network.
func clientFrom(d *door, address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
}

func slowloris(t *testing.T, _ *node.Node, d *door) {
	address := fmt.Sprintf("127.0.0.1:%d", d.port)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	var mu sync.Mutex // guards conns
	var all sync.WaitGroup
	for worker := range 20 {
		all.Go(func() {
			for i := range 100 {
				c, err := net.DialTimeout("tcp", address, 5*time.Second)
				if err != nil {
					t.Errorf("connection %d of worker %d: %v", i, worker, err)
					return
				}
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
				if i%10 != 0 {
					_, _ = c.Write([]byte{0x16}) // a handshake that never goes on
					continue
				}
				s := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
				_ = s.SetDeadline(time.Now().Add(5 * time.Second))
				_, _ = io.WriteString(s, "GET /pods HTTP/1.1\r\nHost: x\r\nX-A: ") // a header that never ends
			}
		})
	}
	all.Wait()
	// Who has credentials is served meanwhile, from there and from elsewhere.
	for _, from := range []string{"127.0.0.1", "127.0.0.8"} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url("/pods", nil).String(), nil)
		req.Header.Set("Authorization", "Bearer "+theToken)
		client := clientFrom(d, from)
		r, err := client.Do(req)
		if err != nil {
			t.Fatalf("from %s: %v", from, err)
		}
		_ = r.Body.Close()
		client.CloseIdleConnections()
		if r.StatusCode != http.StatusOK {
			t.Errorf("from %s: %s", from, r.Status)
		}
	}
	time.Sleep(time.Second)
}

// zeros is a body of a size, and how much of it was read.
type zeros struct{ left, read atomic.Int64 }

func (z *zeros) Read(b []byte) (int, error) {
	if z.left.Load() <= 0 {
		return 0, io.EOF
	}
	z.left.Add(-int64(len(b)))
	z.read.Add(int64(len(b)))
	return len(b), nil
}

func hugeBodies(t *testing.T, n *node.Node, d *door) {
	before := anonymous(t, n)
	var all sync.WaitGroup
	for _, path := range []string{"/run/default/p0/app?cmd=true", "/exec/default/p0/app?command=true&stdout=1", "/images/pull?ref=x", "/restart/default/nobody", "/pods", "/nothing", "/images/import"} {
		all.Go(func() {
			z := &zeros{}
			z.left.Store(1 << 30)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, d.url("", nil).String()+path, io.NopCloser(z))
			req.ContentLength = 1 << 30
			req.Header.Set("Authorization", "Bearer "+theToken)
			client := clientFrom(d, "127.0.0.7")
			defer client.CloseIdleConnections()
			r, err := client.Do(req)
			if err == nil {
				b, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
				_ = r.Body.Close()
				if path == "/images/import" && !bytes.Contains(b, []byte("error")) {
					t.Errorf("%s took a gigabyte of zeros for images: %s %s", path, r.Status, b)
				}
			}
			if read := z.read.Load(); read > 64<<20 {
				t.Errorf("%s let %d bytes of the body come", path, read)
			}
		})
	}
	all.Wait()
	if after := anonymous(t, n); after > before+32<<20 {
		t.Errorf("the agent's memory went from %d to %d bytes", before, after)
	}
	time.Sleep(500 * time.Millisecond)
}

func stalledFollowers(t *testing.T, n *node.Node, _ *door) {
	before := anonymous(t, n)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	served, refused := 0, 0
	for i := range 1040 {
		c, err := net.Dial("unix", n.Socket())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = fmt.Fprintf(c, "GET /containerLogs/default/p%d/app?follow=true HTTP/1.1\r\nHost: agent\r\n\r\n", i%4)
		head := make([]byte, len("HTTP/1.1 200"))
		if _, err := io.ReadFull(c, head); err != nil {
			t.Fatal(err)
		}
		switch string(head) { // and no more is read
		case "HTTP/1.1 200":
			served++
		case "HTTP/1.1 429":
			refused++
		default:
			t.Errorf("got %s", head)
		}
	}
	if served != 256 || refused != 784 {
		t.Errorf("%d followers were served and %d refused, want 256 and 784", served, refused)
	}
	time.Sleep(2 * time.Second)
	if after := anonymous(t, n); after > before+64<<20 {
		t.Errorf("the agent's memory went from %d to %d bytes", before, after)
	} else {
		t.Logf("the agent's memory went from %d to %d bytes", before, after)
	}
	// The containers print on.
	n.Eventually("a container to print on", func() string {
		if n.MustAgent("logs", "--since", "1s", "p3") == "" {
			return "it printed nothing in the last second"
		}
		return ""
	})
}

func manyExecs(t *testing.T, n *node.Node, _ *door) {
	const rate, seconds = 500, 2
	var codes [600]atomic.Int64
	var all sync.WaitGroup
	client := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", n.Socket())
		},
		DisableKeepAlives: true,
	}}
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for i := range rate * seconds {
		<-tick.C
		all.Go(func() {
			r, err := client.Post(fmt.Sprintf("http://agent/run/default/p%d/app?cmd=true", i%2), "", nil) // 32 at once of each
			if err != nil {
				codes[0].Add(1)
				return
			}
			_ = r.Body.Close()
			codes[r.StatusCode].Add(1)
		})
	}
	all.Wait()
	t.Logf("%d execs ran, %d were refused", codes[200].Load(), codes[429].Load())
	if codes[200].Load() == 0 || codes[200].Load()+codes[429].Load() != rate*seconds {
		for code := range codes {
			if k := codes[code].Load(); k > 0 {
				t.Errorf("%d answers of %d", k, code)
			}
		}
	}
}
