# Few words; each calls one script. `make lab` and `make test` set up all that they need.

.PHONY: lab test verify format generate bench build clean kind

lab: ## bring up the lab with the example shops and show who reaches whom (ARGS=--once: and take it down)
	@./bulkhead lab run $(ARGS)

test: ## every test
	@hack/test.sh $(ARGS)

verify: ## types, lint, format, generated files, shell
	@hack/verify.sh

generate: ## write generated files
	@hack/setup.sh && node_modules/.bin/node hack/generate.ts

format:
	@hack/setup.sh && node_modules/.bin/biome format --write .

bench: ## compare with the reference plugins and with bare kernel devices; writes docs/benchmarks.md
	@hack/bench.sh $(ARGS)

build: ## all programs into dist/
	@hack/setup.sh

kind:
	@echo "make kind: not there yet. The lab runs the same controller, agent and plugin: make lab" >&2; exit 2

clean:
	rm -rf dist node_modules
