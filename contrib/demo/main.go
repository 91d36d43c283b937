// Command demo is the web server of the quickstart: it greets, says who it is and leaves when it is told to.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("reading the hostname: %w", err)
	}
	port := env("PORT", "8080")
	srv := &http.Server{Addr: ":" + port, Handler: handler(env("GREETING", "hello"), host), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.ListenAndServe() }()
	fmt.Printf("demo: listening on port %s as %s\n", port, host)
	select {
	case err := <-served:
		return fmt.Errorf("serving on port %s: %w", port, err)
	case <-ctx.Done():
	}
	fmt.Println("demo: told to stop, leaving")
	done, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(done); err != nil {
		return fmt.Errorf("stopping the server: %w", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler greets on every path and crashes the process on /crash, for those who want to see it come back.
func handler(greeting, host string) http.Handler {
	var visits atomic.Int64
	started := time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Printf("demo: %s %s from %s\n", r.Method, r.URL.Path, r.RemoteAddr)
		fmt.Fprintf(w, "%s from %s, visit %d, up %s\n", greeting, host, visits.Add(1), time.Since(started).Round(time.Millisecond))
	})
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) {
		fmt.Println("demo: asked to crash")
		os.Exit(42)
	})
	return mux
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
