package ctl

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// given are flags as a command line gives them.
type given map[string]any

func (g given) Bool(n string) bool              { v, _ := g[n].(bool); return v }
func (g given) String(n string) string          { v, _ := g[n].(string); return v }
func (g given) Int64(n string) int64            { v, _ := g[n].(int64); return v }
func (g given) Duration(n string) time.Duration { v, _ := g[n].(time.Duration); return v }
func (g given) StringSlice(n string) []string   { v, _ := g[n].([]string); return v }

func TestCommandsAreWhole(t *testing.T) {
	var walk func(path string, list []Command)
	walk = func(path string, list []Command) {
		seen := map[string]bool{}
		for _, c := range list {
			for _, n := range append([]string{c.Name}, c.Aliases...) {
				if seen[n] {
					t.Errorf("%s%s is there twice", path, n)
				}
				seen[n] = true
			}
			if c.Usage == "" || (c.Run == nil) == (len(c.Commands) == 0) {
				t.Errorf("%s%s is not whole", path, c.Name)
			}
			flags := map[string]bool{}
			for _, f := range c.Flags {
				switch f.Default.(type) {
				case bool, string, int64, time.Duration, []string:
				default:
					t.Errorf("%s%s --%s is a %T", path, c.Name, f.Name, f.Default)
				}
				if flags[f.Name] || f.Short != "" && flags[f.Short] || f.Usage == "" {
					t.Errorf("%s%s --%s is there twice or has no usage", path, c.Name, f.Name)
				}
				flags[f.Name], flags[f.Short] = true, f.Short != ""
			}
			walk(path+c.Name+" ", c.Commands)
		}
	}
	walk("", Commands())
}

func TestACommandOfTheTableRuns(t *testing.T) {
	n := newNode(t)
	post(n, "default", "web", nil)
	i := slices.IndexFunc(Commands(), func(c Command) bool { return c.Name == "exec" })
	out, _, err := run(func(s Streams) error {
		return Commands()[i].Run(t.Context(), Env{Streams: s, Client: n.Client}, Input{given{}, []string{"web", "--", "echo", "-n", "hi"}})
	})
	if err != nil || out != "hi" {
		t.Errorf("%q %v", out, err)
	}
}

func TestSettingsOfTheFileAreAsTheCommandLineTakesThem(t *testing.T) {
	var values map[string]any
	if err := yaml.Unmarshal([]byte(`
bytes: 10485760
share: 0.5
no-more: false
pause: 10s
list: [a, 2097152]
map: {memory: 1073741824, cpu: 100m}
`), &values); err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for name, v := range values {
		got[name] = SettingItems(v)
	}
	if diff := cmp.Diff(map[string][]string{
		"bytes": {"10485760"}, "share": {"0.5"}, "no-more": {"false"}, "pause": {"10s"}, "list": {"a", "2097152"},
		"map": {"cpu=100m", "memory=1073741824"},
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestCompletion(t *testing.T) {
	n := newNode(t)
	post(n, "default", "web", nil)
	post(n, "default", "worker", nil)
	post(n, "kube-system", "dns", nil)
	for line, want := range map[string]string{
		"e":                        "events exec",
		"get p":                    "pods problems",
		"get pods ":                "web worker",
		"get pods -n kube-system ": "dns",
		"get pods -n ":             "default kube-system",
		"get pods -o j":            "json jsonpath=",
		"get pods --no":            "--no-headers",
		"logs w":                   "web worker",
		"logs web ":                "app",
		"logs web -c ":             "app",
		"logs --tail 5 wo":         "worker",
		"exec -it we":              "web",
		"exec web -- ":             ":files",
		"restart web w":            "web worker",
		"apply -f ":                ":files",
		"validate ":                ":files",
		"completion b":             "bash",
		"nothing ":                 "apply attach check completion cp delete describe diff events exec get images logs port-forward restart support-bundle top validate version wait",
	} {
		if got := strings.Join(Complete(t.Context(), n.Client, Commands(), strings.Split(line, " ")), " "); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	if got := Complete(t.Context(), NewClient("/nonexistent"), Commands(), []string{"logs", ""}); len(got) > 0 {
		t.Errorf("without an agent: %v", got)
	}
	t.Run("bash takes the script", func(t *testing.T) {
		dir := t.TempDir()
		put(t, dir, map[string]string{"agent": "#!/bin/sh\nprintf '%s\\n' \"$@\"\n"})
		if err := os.Chmod(filepath.Join(dir, "agent"), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("bash", "-c", scripts["bash"]+`COMP_WORDS=(agent get pods we); COMP_CWORD=3; _agent; echo "${COMPREPLY[*]}"`)
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != "__complete get pods we\n" {
			t.Errorf("%q %v", out, err)
		}
	})
}

func TestAnAgentIsReachedOverTheNetwork(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t0ken" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"agent":"v9"}`))
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(o RemoteOptions) (Version, error) {
		var v Version
		c, err := NewRemoteClient(o)
		if err == nil {
			err = c.get(context.Background(), "/version", nil, &v)
		}
		return v, err
	}
	v, err := ask(RemoteOptions{URL: s.URL, CAFile: ca, Token: "t0ken"})
	if d := cmp.Diff(Version{Agent: "v9"}, v); err != nil || d != "" {
		t.Errorf("%v %s", err, d)
	}
	if _, err := ask(RemoteOptions{URL: s.URL, Insecure: true, Token: "t0ken"}); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	for name, c := range map[string]struct {
		o    RemoteOptions
		code int
		text string
	}{
		"an unknown certificate": {RemoteOptions{URL: s.URL, Token: "t0ken"}, ExitUnreachable, "--certificate-authority"},
		"a wrong token":          {RemoteOptions{URL: s.URL, CAFile: ca, Token: "x"}, ExitFailed, "401"},
		"nobody":                 {RemoteOptions{URL: "https://" + closed, CAFile: ca}, ExitUnreachable, closed},
		"plain HTTP":             {RemoteOptions{URL: "http://127.0.0.1:1"}, ExitUsage, "https"},
		"no CA":                  {RemoteOptions{URL: s.URL, CAFile: "/nonexistent"}, ExitFailed, "nonexistent"},
	} {
		if _, err := ask(c.o); ExitCode(err) != c.code || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %d %v", name, ExitCode(err), err)
		}
	}
}
