"""Notebooks in which something failed that no exception of a cell tells: none may pass."""

from __future__ import annotations

from notebook_cases import IMP, Case

LATE = (
    "import asyncio, threading, time\ndef load():\n    time.sleep(1.5)\n    raise OSError('late')\n"
)
DIES = "ended with exit status 3"

WRONG = [
    # Exceptions that are swallowed, not handled.
    Case(
        name="a nested cell whose result nobody asks for",
        cells=("result = get_ipython().run_cell('1 / 0')", "1"),
        fault="ZeroDivisionError",
    ),
    Case(
        name="a nested cell with a syntax error",
        cells=("get_ipython().run_cell('def')",),
        fault="SyntaxError",
    ),
    Case(
        name="a script that ends by sys.exit(1)",
        cells=("open('exits.py', 'w').write('import sys; sys.exit(1)')", "%run exits.py"),
        fault="SystemExit",
    ),
    Case(
        name="a script that fails within try and except",
        cells=(
            "open('bad.py', 'w').write('1 / 0')",
            "try:\n    %run bad.py\nexcept Exception:\n    1",
        ),
        fault="ZeroDivisionError",
    ),
    Case(
        name="%prun of sys.exit(1)",
        cells=("import sys\n%prun -q sys.exit(1)",),
        fault="SystemExit",
    ),
    Case(name="%prun of an exception", cells=("%prun -q 1 / 0",), fault="ZeroDivisionError"),
    Case(name="%timeit of an exception", cells=("%timeit 1 / 0",), fault="ZeroDivisionError"),
    Case(name="%%time of an exception", cells=("%%time\n1 / 0",), fault="ZeroDivisionError"),
    Case(
        name="an output widget that swallows",
        cells=(
            "import pathlib\npathlib.Path('ipywidgets').mkdir()\n"
            "pathlib.Path('ipywidgets/__init__.py').write_text('''\nclass Output:\n"
            "    def __enter__(self):\n        pass\n"
            "    def __exit__(self, *exc):\n        from IPython import get_ipython\n"
            "        get_ipython().showtraceback(exc, tb_offset=0)\n        return True\n''')",
            "import ipywidgets\nwith ipywidgets.Output():\n    1 / 0",
            "1",
        ),
        fault=r"cell 3 of 4 .*: ZeroDivisionError",
    ),
    Case(
        name="an object that can't be shown",
        cells=("class Bad:\n    def _repr_html_(self):\n        1 / 0\nBad()",),
        fault="ZeroDivisionError",
    ),
    Case(
        name="a hook of IPython that fails",
        cells=("get_ipython().events.register('post_run_cell', lambda *_: 1 / 0)", "1"),
        fault="ZeroDivisionError",
    ),
    Case(
        name="%autoreload of a broken module",
        cells=(
            "import os\nopen('broken.py', 'w').write('n = 1')\nos.utime('broken.py', (1, 1))",
            IMP,
            "%load_ext autoreload\n%autoreload 2\nimport broken",
            "open('broken.py', 'w').write('n = (')",
            "print(broken.n)",
        ),
        fault="autoreload could not load .*broken.py",
    ),
    Case(name="breakpoint() left in", cells=("breakpoint()", "1"), fault=r"breakpoint\(\)"),
    Case(
        name="pdb.set_trace() left in",
        cells=("import pdb\npdb.set_trace()\nx = 1", "1"),
        fault="cell 2 of 3",
    ),
    # Commands.
    Case(
        name="a pipeline's first command",
        cells=("!pip install --no-index there-is-none 2>&1 | tail -1", "1"),
        fault=r"cell 2 of 3 .*: .*pip install.* exit status 1",
    ),
    Case(
        name="a command in a pipeline that there is none of",
        cells=("!there-is-none | head -1",),
        fault="exit status 127",
    ),
    Case(
        name="a command before the last",
        cells=("!pip install -q --no-index there-is-none; echo done",),
        fault="`pip install -q --no-index there-is-none` ended with exit status 1",
        shows="done",
    ),
    Case(name="cd of none, and on", cells=("!cd none; ls",), fault="`cd none`"),
    Case(
        name="a pipeline whose output is assigned",
        cells=("lines = get_ipython().getoutput('cat none | tail -1')",),
        fault="exit status 1",
    ),
    Case(name="%cd of none", cells=("%cd none", "1"), fault="%cd.*none"),
    Case(name="cd of none without the sign", cells=("cd none", "1"), fault="%cd.*none"),
    Case(
        name="a command by system_raw",
        cells=("get_ipython().system_raw('exit 3')", "1"),
        fault=DIES,
    ),
    Case(name="%sx of a failing command", cells=("%sx exit 3",), fault=DIES),
    Case(name="%%bash --bg that fails", cells=("%%bash --bg\nexit 3", "1"), fault=DIES),
    Case(name="%%script of none", cells=("%%script there-is-none\n1",), fault="there-is-none"),
    Case(
        name="a magic that there is none of", cells=("%there_is_none", "1"), fault="there_is_none"
    ),
    # Children, threads, tasks.
    Case(
        name="a child process that nobody asks",
        cells=("import subprocess\nchild = subprocess.Popen(['sh', '-c', 'exit 3'])", "1"),
        fault=DIES,
    ),
    Case(
        name="multiprocessing.Process that nobody asks",
        cells=(
            "import multiprocessing\nfork = multiprocessing.get_context('fork')\n"
            "def work():\n    1 / 0\n"
            "worker = fork.Process(target=work)\nworker.start()\nworker.join()",
            "1",
        ),
        fault="ended with exit status 1",
    ),
    Case(
        name="a task that failed and is held",
        cells=(
            "import asyncio\nasync def load():\n    raise OSError('no data')\n"
            "held = asyncio.create_task(load())\nawait asyncio.sleep(0.1)",
            "1",
        ),
        fault="OSError: no data",
    ),
    Case(
        name="a pool's future that failed and is held",
        cells=(
            "import math\nfrom concurrent.futures import ThreadPoolExecutor\n"
            "pool = ThreadPoolExecutor(1)\nheld = pool.submit(math.sqrt, -1)",
            "pool.shutdown()",
        ),
        fault="ValueError: math domain error|ValueError: expected a nonnegative",
    ),
    Case(
        name="a future of asyncio's that failed and is held",
        cells=(
            "import asyncio\n\ndef load():\n    raise OSError('no data')",
            "held = asyncio.get_running_loop().run_in_executor(None, load)",
        ),
        fault="OSError: no data",
    ),
    Case(
        name="a pool's results that nobody took",
        cells=(
            "import math\nfrom concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(2) as pool:\n    pool.map(math.sqrt, [4, -1])",
        ),
        fault="ValueError",
    ),
    Case(
        name="a result of multiprocessing that nobody asks",
        cells=(
            "import math, multiprocessing\npool = multiprocessing.get_context('fork').Pool(1)\n"
            "pool.apply_async(math.sqrt, (-1,))\npool.close()\npool.join()",
            "1",
        ),
        fault="a pool's future died of ValueError: (math|expected)",
    ),
    Case(
        name="a thread that fails after the last cell",
        cells=(LATE + "threading.Thread(target=load, name='loader').start()",),
        fault="thread loader died of OSError: late",
    ),
    Case(
        name="a daemon thread that fails after the last cell",
        cells=(LATE + "threading.Thread(target=load, daemon=True).start()",),
        fault="died of OSError: late",
    ),
    Case(
        name="a task that fails after the last cell",
        cells=(
            LATE + "async def fetch():\n    await asyncio.sleep(1.5)\n    raise OSError('late')\n"
            "held = asyncio.create_task(fetch())",
        ),
        fault="OSError: late",
    ),
    Case(
        name="a callback of tornado that fails",
        cells=(
            "import tornado.ioloop\ndef work():\n    1 / 0\n"
            "tornado.ioloop.IOLoop.current().add_callback(work)",
            "import asyncio\nawait asyncio.sleep(0.1)",
        ),
        fault="ZeroDivisionError",
    ),
    Case(
        name="a callback of asyncio that fails",
        cells=("import asyncio\nasyncio.get_running_loop().call_soon(lambda: 1 / 0)", "1"),
        fault="ZeroDivisionError",
    ),
    # The end of the interpreter.
    Case(
        name="atexit that fails",
        cells=("import atexit\natexit.register(lambda: 1 / 0)",),
        fault="ZeroDivisionError",
    ),
    Case(
        name="a crash as the interpreter ends",
        cells=("import atexit, ctypes\natexit.register(ctypes.string_at, 0)",),
        fault="SIGSEGV",
    ),
    Case(
        name="an exit status as the interpreter ends",
        cells=("import atexit, os\natexit.register(os._exit, 3)",),
        fault="exited with status 3",
    ),
    Case(
        name="a thread that fails as the interpreter ends",
        cells=(LATE.replace("1.5", "5") + "threading.Thread(target=load, name='loader').start()",),
        fault="thread loader died of OSError: late",
    ),
    # Parameters.
    Case(
        name="a given parameter whose default is computed",
        cells=("print(steps)",),
        declares="steps = len('abc')",
        parameters=("steps=4",),
        fault=r"declares steps = len\('abc'\)",
    ),
    Case(
        name="a parameter that is used above its cell",
        cells=("1",),
        above=("try:\n    print(f'{steps}')\nexcept NameError:\n    pass",),
        parameters=("steps=4",),
        fault="uses steps above",
    ),
]
