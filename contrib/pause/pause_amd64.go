package pause

import _ "embed"

//go:embed pause_amd64
var program string
