// Package docs holds the pages of this repository to its code: it has tests alone.
//
// Each test that a page names exists, each piece of Go on a page is part of a file that is compiled (TestPages), each
// name in backticks is one of the tree (TestNames), each link leads somewhere (TestLinks), and prose keeps to the
// style of CONTRIBUTING.md (TestProse).
package docs
