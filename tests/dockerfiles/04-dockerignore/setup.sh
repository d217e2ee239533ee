mkdir -p sub/deep node_modules/m
for name in a.log b.txt sub/a.log sub/keep.log sub/deep/x.tmp sub/deep/x.txt node_modules/m/i.js README.md NOTES.md; do echo $name > $name; done
printf '%s\n' '# logs' '**/*.log' '!sub/keep.log' node_modules '*.md' '!README.md' 'sub/*/*.tmp' setup.sh Dockerfile .dockerignore > .dockerignore
