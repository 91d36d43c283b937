package containerd

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"edgepod.dev/agent/manifests"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
)

// registries finds hosts, mirrors, CAs and credentials for pulls. Files are read anew for each pull, so that a change
// needs no restart.
type registries struct {
	hostDirs []string // certs.d directories, the first that knows the host wins
	auth     []string // config.json files as docker writes them, the first that knows the host wins
}

func newRegistries(c Config) registries {
	r := registries{hostDirs: c.RegistryConfig}
	for _, d := range c.RegistryConfig {
		r.auth = append(r.auth, filepath.Join(d, "config.json"))
	}
	r.auth = append(r.auth, filepath.Join(c.Root, "config.json"))
	if home, err := os.UserHomeDir(); err == nil {
		r.auth = append(r.auth, filepath.Join(home, ".docker", "config.json"))
	}
	return r
}

// resolver is made for one pull of an image, with a pod's credential or (nil) with what the node has.
func (r registries) resolver(ctx context.Context, name string, cred *manifests.PullCredential) remotes.Resolver {
	hosts := config.ConfigureHosts(ctx, config.HostOptions{
		HostDir: r.hostDir,
		Credentials: func(host string) (user, secret string, err error) {
			if cred != nil && isRegistryOf(host, name) {
				return cred.Username, cred.Password, nil
			}
			return r.credentials(host)
		},
		UpdateClient: func(c *http.Client) error {
			if t, ok := c.Transport.(*http.Transport); ok {
				t.ResponseHeaderTimeout = 60 * time.Second
			}
			return nil
		},
	})
	return docker.NewResolver(docker.ResolverOptions{Hosts: hosts})
}

func (r registries) hostDir(host string) (string, error) {
	for _, d := range r.hostDirs {
		dir, err := config.HostDirFromRoot(d)(host)
		if err == nil && dir != "" {
			return dir, nil
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return "", fmt.Errorf("looking for %s in %s: %w", host, d, err)
		}
	}
	return "", nil
}

// dockerConfig is the part of ~/.docker/config.json that is read.
type dockerConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
}

// credentials returns user and secret for a registry host; an empty user with a secret means a refresh token.
func (r registries) credentials(host string) (user, secret string, err error) {
	for _, file := range r.auth {
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", "", fmt.Errorf("reading registry credentials: %w", err)
		}
		var c dockerConfig
		if err := json.Unmarshal(b, &c); err != nil {
			return "", "", fmt.Errorf("reading registry credentials in %s: %w", file, err)
		}
		for name, a := range c.Auths {
			if authHost(name) != authHost(host) {
				continue
			}
			if a.IdentityToken != "" {
				return "", a.IdentityToken, nil
			}
			if a.Auth != "" {
				plain, err := base64.StdEncoding.DecodeString(a.Auth)
				if err != nil {
					return "", "", fmt.Errorf("reading registry credentials in %s for %s: %w", file, name, err)
				}
				user, secret, _ := strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
				return user, secret, nil
			}
			return a.Username, a.Password, nil
		}
	}
	return "", "", nil
}

// authHost is the host of a key of config.json, which may be a URL; Docker Hub has several names.
func authHost(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "http://")
	name, _, _ = strings.Cut(name, "/")
	switch name {
	case "registry-1.docker.io", "index.docker.io":
		return "docker.io"
	}
	return name
}
