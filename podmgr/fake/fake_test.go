package fake_test

import (
	"fmt"
	"testing"
	"time"

	"edgepod.dev/agent/podmgr"
	"edgepod.dev/agent/podmgr/fake"
	"edgepod.dev/agent/podmgr/runtimetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheFakeKeepsTheLawsOfARuntime(t *testing.T) {
	runtimetest.Run(t, func(t *testing.T) runtimetest.Subject {
		rt := fake.New()
		rt.Remote = map[string]string{}
		rt.AddImage("app", "sha256:app")
		return runtimetest.Subject{
			Runtime: rt,
			Reopen:  func(*testing.T, time.Duration) podmgr.Runtime { return rt },
			Image:   "app",
			Missing: "registry.invalid/none:1",
			Command: func(p runtimetest.Program) []string {
				switch p.Kind {
				case runtimetest.Stubborn:
					return []string{"stubborn"}
				case runtimetest.Exit:
					return []string{"exit", fmt.Sprint(p.Code)}
				case runtimetest.Hog:
					return []string{"hog", "137"}
				case runtimetest.HogChild:
					return []string{"hog", fmt.Sprint(p.Code)}
				}
				return []string{"run"}
			},
		}
	})
}
