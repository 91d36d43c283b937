package health

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAnHTTPProbeJudgesAsTheKubelet(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscan(r.PathValue("code"), &code)
		w.WriteHeader(code)
		if code >= 300 || code == 200 {
			_, _ = io.WriteString(w, "secret body")
		}
	})
	mux.HandleFunc("/hop/{n}", func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscan(r.PathValue("n"), &n)
		if n > 0 {
			http.Redirect(w, r, fmt.Sprintf("/hop/%d", n-1), http.StatusFound)
		}
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/to500", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/status/500", http.StatusPermanentRedirect)
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere.example/", http.StatusMovedPermanently)
	})
	mux.HandleFunc("/query", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "a=1&b=%20x" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	mux.HandleFunc("/early", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusProcessing)
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, 100<<10))
	})
	servers := map[string]*httptest.Server{"http": httptest.NewServer(mux), "https": httptest.NewTLSServer(mux)}
	both := httptest.NewUnstartedServer(mux)
	both.EnableHTTP2 = true
	both.StartTLS()
	servers["https with HTTP/2"] = both
	plain2 := httptest.NewUnstartedServer(mux)
	plain2.Config.Protocols = new(http.Protocols)
	plain2.Config.Protocols.SetUnencryptedHTTP2(true)
	plain2.Start()
	servers["HTTP/2 without TLS"] = plain2

	for _, tt := range []struct {
		name, path string
		want       Outcome
		message    string // "%s" is the server's URL
	}{
		{"200 is a success", "/status/200", Success, ""},
		{"204 is a success", "/status/204", Success, ""},
		{"304 is a success that needs a look", "/status/304", Warning, "Probe terminated redirects, Response body: "},
		{"399 is a success that needs a look", "/status/399", Warning, "Probe terminated redirects, Response body: secret body"},
		{"400 is a failure", "/status/400", Failure, "HTTP probe failed with statuscode: 400"},
		{"500 is a failure that does not tell the body", "/status/500", Failure, "HTTP probe failed with statuscode: 500"},
		{"a redirect to the same host is followed", "/hop/1", Success, ""},
		{"nine redirects are followed", "/hop/9", Success, ""},
		{"ten are too many", "/hop/10", Failure, `Get "/hop/0": stopped after 10 redirects`},
		{"a loop ends", "/loop", Failure, `Get "/loop": stopped after 10 redirects`},
		{"a redirect to a failure is a failure", "/to500", Failure, "HTTP probe failed with statuscode: 500"},
		{"a redirect to another host is not followed", "/away", Warning, "Probe terminated redirects, Response body: <a href=\"http://elsewhere.example/\">Moved Permanently</a>.\n\n"},
		{"the query is sent as it is", "/query?a=1&b=%20x", Success, ""},
		{"informational answers are not the answer", "/early", Success, ""},
		{"a body larger than the cap is a success", "/huge", Success, ""},
		{"an empty path is the root", "", Failure, "HTTP probe failed with statuscode: 404"},
	} {
		for _, with := range []string{"http", "https", "https with HTTP/2", "HTTP/2 without TLS"} {
			t.Run(tt.name+" over "+with, func(t *testing.T) {
				target := at(t, servers[with], tt.path)
				target.Protocol2 = with == "HTTP/2 without TLS"
				got, _ := within(t, 5*time.Second, HTTP(target))
				if diff := cmp.Diff(Result{tt.want, tt.message}, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
	for _, s := range servers {
		s.Close()
	}
}

func TestAnHTTPProbeSendsTheHeadersOfTheKubelet(t *testing.T) {
	got := make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r }))
	defer s.Close()
	address := strings.TrimPrefix(s.URL, "http://")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // never asked

	for _, tt := range []struct {
		name    string
		headers http.Header
		host    string
		want    http.Header
	}{
		{
			"without headers of its own", nil, address,
			http.Header{"User-Agent": {"kube-probe/1.37"}, "Accept": {"*/*"}, "Connection": {"close"}},
		},
		{
			"repeated headers, in order",
			http.Header{"X-Muffin": {"one", "two"}},
			address,
			http.Header{"User-Agent": {"kube-probe/1.37"}, "Accept": {"*/*"}, "Connection": {"close"}, "X-Muffin": {"one", "two"}},
		},
		{
			"a virtual host",
			http.Header{"Host": {"muffins.example:8080"}},
			"muffins.example:8080",
			http.Header{"User-Agent": {"kube-probe/1.37"}, "Accept": {"*/*"}, "Connection": {"close"}},
		},
		{
			"replaced ones",
			http.Header{"User-Agent": {"me"}, "Accept": {"text/html"}, "Accept-Encoding": {"gzip"}},
			address,
			http.Header{"User-Agent": {"me"}, "Accept": {"text/html"}, "Connection": {"close"}, "Accept-Encoding": {"gzip"}},
		},
		{
			"emptied ones", http.Header{"User-Agent": {""}, "Accept": {""}}, address, http.Header{"Connection": {"close"}},
		},
		{
			"a value with a line break cannot smuggle a header",
			http.Header{"X-A": {"b\r\nX-Evil: 1"}},
			address,
			http.Header{"User-Agent": {"kube-probe/1.37"}, "Accept": {"*/*"}, "Connection": {"close"}, "X-A": {"b  X-Evil: 1"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := at(t, s, "/")
			target.Headers = tt.headers
			before := tt.headers.Clone()
			if r, _ := within(t, 5*time.Second, HTTP(target)); r.Outcome != Success {
				t.Fatal(r)
			}
			r := <-got
			if diff := cmp.Diff(tt.want, r.Header); diff != "" || r.Host != tt.host || r.Method != http.MethodGet {
				t.Errorf("%s %s\n%s", r.Method, r.Host, diff)
			}
			if diff := cmp.Diff(before, tt.headers); diff != "" {
				t.Errorf("the target was changed: %s", diff)
			}
		})
	}
}

func TestARedirectKeepsHeadersAndMayChangeTheScheme(t *testing.T) {
	var seen []string
	secure := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("X-Token")+" "+r.UserAgent())
	}))
	defer secure.Close()
	plain := httptest.NewServer(http.RedirectHandler(secure.URL+"/x", http.StatusFound))
	defer plain.Close()
	target := at(t, plain, "/")
	target.Headers = http.Header{"X-Token": {"t"}}
	r, _ := within(t, 5*time.Second, HTTP(target))
	if r.Outcome != Success || !slices.Equal(seen, []string{"t kube-probe/1.37"}) {
		t.Errorf("%+v, server saw %q", r, seen)
	}
}
