# Short names for tools/go.py, which does the work (also where there is no make).
PYTHON ?= python3

.PHONY: run test check lint types format soak speed turns rpc clean

run:                            ## Set up and open the app
	$(PYTHON) tools/go.py

test check lint types format:   ## Set up, then tests; all that CI runs; or one part of it
	$(PYTHON) tools/go.py $@

soak:                           ## The full counts (docs/benchmarks.md)
	$(PYTHON) tools/go.py soak

speed turns:                    ## The benchmarks, half an hour each (docs/benchmarks.md)
	$(PYTHON) tools/go.py $@

rpc:                            ## Build the tests' stand-in for a GPU, about five minutes, once
	$(PYTHON) tools/go.py rpc

clean:
	$(PYTHON) -c "import shutil; [shutil.rmtree(f, ignore_errors=True) for f in ('.venv', '.rpc', '.benchmarks')]"
