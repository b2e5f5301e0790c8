module github.com/rescind/rescind

go 1.26
