// Command hyperkube is a Kubernetes control plane in one program (etcd, API server, controller manager, scheduler,
// metrics-server) and kubectl: the name it is called by says which. It is linked once, and its parts share most of their
// packages. It is a module of its own, so that the agent's go.mod stays clear of it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	metrics "sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

// parts are the programs by name.
var parts = map[string]func(){
	"etcd":                    func() { etcdmain.Main(os.Args) },
	"kube-apiserver":          func() { run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() { run(controllers.NewControllerManagerCommand()) },
	"kube-scheduler":          func() { run(scheduler.NewSchedulerCommand()) },
	"metrics-server":          func() { run(metrics.NewMetricsServerCommand(genericapiserver.SetupSignalHandler())) },
	"kubectl": func() {
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err) // it says the error as kubectl does, and exits
		}
	},
}

func main() {
	name := filepath.Base(os.Args[0])
	part, ok := parts[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s: not the name of a part\n", name)
		os.Exit(2)
	}
	part()
}

func run(c *cobra.Command) { os.Exit(cli.Run(c)) }
