package health

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// serveForOthers is the process of servers: it prints the ports of http, https, tcp, grpc and serves until stdin ends.
func serveForOthers() {
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	plain, secure := httptest.NewServer(ok), httptest.NewUnstartedServer(ok)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		return l
	}
	bare, rpc := listen(), listen()
	go func() {
		for {
			c, err := bare.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, grpchealth.NewServer())
	go func() { _ = s.Serve(rpc) }()
	for _, l := range []net.Listener{plain.Listener, secure.Listener, bare, rpc} {
		fmt.Println(l.Addr())
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// elsewhere starts the process of servers and returns a try for each kind.
func elsewhere(t testing.TB) map[string]Try {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	tries := map[string]Try{}
	lines := bufio.NewScanner(out)
	for _, kind := range []string{"http", "https", "tcp", "grpc"} {
		if !lines.Scan() {
			t.Fatal("the servers said nothing")
		}
		host, port := hostPort(t, lines.Text())
		switch kind {
		case "tcp":
			tries[kind] = TCP(TCPTarget{Host: host, Port: port})
		case "grpc":
			tries[kind] = GRPC(GRPCTarget{Host: host, Port: port})
		default:
			tries[kind] = HTTP(HTTPTarget{Scheme: kind, Host: host, Port: port, Path: "/healthz"})
		}
	}
	return tries
}

// cpu is the processor time that this process has used.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestTheCostOf200Probes holds the claim of issue 3: 200 http and tcp probes at 1 s on time and for less than 5 % of a
// core. It prints what it measures; the bounds leave room for a busy machine.
func TestTheCostOf200Probes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	const count, length = 200, 10 * time.Second
	tries := elsewhere(t)
	var mu sync.Mutex
	begun := make([][]time.Time, count)
	failed := 0
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var wg sync.WaitGroup
	before := cpu(t)
	for i := range count {
		try := tries["http"]
		if i%2 == 1 {
			try = tries["tcp"]
		}
		p := &Probe{
			Spec:    Spec{Kind: Liveness, Period: time.Second, Timeout: time.Second, FailureThreshold: 1000},
			Adopted: true,
			Try: func(ctx context.Context) Result {
				now := time.Now()
				r := try(ctx)
				mu.Lock()
				defer mu.Unlock()
				begun[i] = append(begun[i], now)
				if !r.passed() && ctx.Err() == nil {
					failed++
				}
				return r
			},
		}
		wg.Go(func() { p.Run(ctx) })
	}
	wg.Wait()
	used := cpu(t) - before
	var late []time.Duration
	for i, times := range begun {
		if len(times) < 9 {
			t.Errorf("probe %d ran %d times in %s", i, len(times), length)
		}
		for k, at := range times {
			late = append(late, at.Sub(times[0].Add(time.Duration(k)*time.Second)).Abs())
		}
	}
	slices.Sort(late)
	share := 100 * used.Seconds() / length.Seconds()
	t.Logf("%d probes: %.2f %% of a core; off schedule by p50 %s, p99 %s, at most %s", len(late), share,
		late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
	if share > 12 {
		t.Errorf("%.2f %% of a core", share)
	}
	if p99 := late[len(late)*99/100]; p99 > 300*time.Millisecond || failed > 0 {
		t.Errorf("p99 %s off schedule, %d false failures", p99, failed)
	}
}

// TestAnIdleProbeIsSmall holds "a few KiB per probe": goroutine, timer and all.
func TestAnIdleProbeIsSmall(t *testing.T) {
	const count = 1000
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg, once sync.WaitGroup
	before := memory()
	once.Add(count)
	for range count {
		g := NewGroup(GroupConfig{Readiness: hourly(func(context.Context) Result {
			once.Done()
			return Result{Outcome: Success}
		})})
		wg.Go(func() { g.Run(ctx) })
	}
	once.Wait()
	each := (memory() - before) / count
	cancel()
	wg.Wait()
	t.Logf("%d bytes per idle probe", each)
	if each > 12<<10 {
		t.Errorf("%d bytes per idle probe", each)
	}
}

// hourly is a readiness probe that runs once an hour.
func hourly(try Try) *Probing {
	return &Probing{Spec{Kind: Readiness, Period: time.Hour}.withDefaults(), try}
}

// BenchmarkTry is one try of each kind, without the server's cost; cpu-µs/op is what it costs this process.
func BenchmarkTry(b *testing.B) {
	tries := elsewhere(b)
	for _, kind := range []string{"tcp", "http", "https", "grpc"} {
		b.Run(kind, func(b *testing.B) { benchmark(b, tries[kind]) })
	}
}

func benchmark(b *testing.B, try Try) {
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if r, _ := within(b, time.Second, try); r.Outcome != Success {
			b.Fatal(r)
		}
	}
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}
