package main

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
)

func TestDemoGreetsAndCountsVisits(t *testing.T) {
	h := handler("good morning", "web")
	for _, want := range []string{
		`^good morning from web, visit 1, up \d`,
		`^good morning from web, visit 2, up \d`,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/any/path", nil))
		if got := w.Body.String(); w.Code != 200 || !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("answer is %d %q, want 200 and %s", w.Code, got, want)
		}
	}
}
