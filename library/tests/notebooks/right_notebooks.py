"""Notebooks in which something went wrong that was meant, or handled: each has to pass."""

from __future__ import annotations

from notebook_cases import IMP, Case

TRY = "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError as error:\n"

RIGHT = [
    # Exceptions that the notebook handled, and showed.
    Case(
        name="a handled exception, its traceback printed",
        cells=(TRY + "    traceback.print_exc()",),
        shows="ZeroDivisionError",
    ),
    Case(
        name="a handled exception, displayed",
        cells=(TRY + "    display(error)\n    print(repr(error))",),
        shows="division by zero",
    ),
    Case(
        name="a handled exception, shown as IPython shows it",
        cells=(TRY + "    get_ipython().showtraceback()\nprint('af', 'ter')", "1"),
        shows="ZeroDivisionError",
    ),
    Case(
        name="an exception that is suppressed",
        cells=(
            "import contextlib, os\nwith contextlib.suppress(FileNotFoundError):\n"
            "    os.remove('none')",
        ),
    ),
    Case(
        name="an exception that is logged",
        cells=(TRY.replace("traceback", "logging") + "    logging.exception('as it must be')",),
        shows="as it must be",
    ),
    Case(
        name="a handled exception, shown by sys.excepthook",
        cells=("import sys\n" + TRY + "    sys.excepthook(*sys.exc_info())", "1"),
        shows="ZeroDivisionError",
    ),
    Case(
        name="sys.exit() that is handled",
        cells=(
            "import sys\ntry:\n    sys.exit(2)\nexcept SystemExit as end:\n    print(end.code)",
        ),
    ),
    Case(
        name="a nested cell whose result is checked",
        cells=(
            "result = get_ipython().run_cell('1 / 0')\nassert not result.success\n"
            "assert isinstance(result.error_in_exec, ZeroDivisionError)",
            "later = get_ipython().run_cell('undefined')",
            "assert 'NameError' in repr(type(later.error_in_exec))",
        ),
    ),
    Case(
        name="a nested cell that runs well",
        cells=("get_ipython().run_cell('1 + 1')\nget_ipython().run_line_magic('pwd', '')",),
    ),
    Case(name="everything deleted by reset()", cells=("get_ipython().reset()", "print(1)", "2")),
    Case(name="counted back", cells=("get_ipython().execution_count = 1", "1")),
    Case(
        name="a script that ends by sys.exit(0)",
        cells=("open('good.py', 'w').write('import sys; sys.exit(0)')", "%run good.py"),
    ),
    Case(
        name="a script whose exit status is not asked for",
        cells=("open('exits.py', 'w').write('import sys; sys.exit(3)')", "%run -e exits.py"),
    ),
    Case(
        name="%prun, %timeit and %time of what is right",
        cells=(
            "%prun -q sum(range(9))\n%timeit -n 1 -r 1 sum(range(9))\n%time sum(range(9))",
            "%%time\ntotal = sum(range(9))",
            "%%capture said\nprint('captured')",
            "assert total == 36 and said.stdout == 'captured\\n'",
        ),
    ),
    Case(
        name="%autoreload of a module that changes",
        cells=(
            "import os\nopen('changing.py', 'w').write('n = 1')\nos.utime('changing.py', (1, 1))",
            IMP,
            "%load_ext autoreload\n%autoreload 2\nimport changing",
            "open('changing.py', 'w').write('n = 22')",
            "assert changing.n == 22",
        ),
    ),
    Case(
        name="breakpoint() switched off",
        cells=("import os\nos.environ['PYTHONBREAKPOINT'] = '0'\nbreakpoint()",),
    ),
    # Commands.
    Case(name="!a | head", cells=("!seq 1000000 | head -2\n!yes | head -1", "1"), shows="2"),
    Case(
        name="a pipeline whose consumer stops early",
        cells=(
            "!{__import__('sys').executable} -c 'for i in range(99999): print(i)' | head -1",
            "!yes | {__import__('sys').executable} -c 'input()'",
        ),
    ),
    Case(name="a search without a find, and then true", cells=("!grep -q x /dev/null; true",)),
    Case(name="a search without a find in a pipeline", cells=("!grep x /dev/null | wc -l",)),
    Case(name="a test with an alternative", cells=("!test -f none || echo no",), shows="no"),
    Case(
        name="a pipeline that may fail",
        cells=("!cat none | tail -1 || true", "!(cat none || true) | tail -1"),
    ),
    Case(
        name="a command whose errors are thrown away",
        cells=("!none-such 2>/dev/null | tail -1; cat none > /dev/null 2>&1; echo on",),
        shows="on",
    ),
    Case(name="a status that is asked for", cells=("!cat none; echo status $?",), shows="status 1"),
    Case(
        name="commands in a row that are right",
        cells=("!mkdir -p made; cd made && ls | wc -l; echo 'a;b|c' | cut -d';' -f2",),
        shows="b|c",
    ),
    Case(
        name="a loop with conditions",
        cells=("!for f in a none; do if test -f $f; then cat $f; else echo no $f; fi; done",),
        shows="no none",
    ),
    Case(
        name="!mkdir of what is there, and on",
        cells=("!mkdir there; mkdir there; echo on",),
        shows="on",
    ),
    Case(
        name="%%bash that goes on after a failure",
        cells=("%%bash\nset +e\nfalse\necho on",),
        shows="on",
    ),
    Case(
        name="%%bash whose status is not raised",
        cells=("%%bash --no-raise-error\nexit 3",),
    ),
    Case(name="%%bash --bg that ends well", cells=("%%bash --bg\nsleep 0.1", "1")),
    Case(
        name="%%bash --bg that the notebook asks",
        cells=(
            "%%bash --bg --proc child\nexit 3",
            "import time\ntime.sleep(0.5)\nchild.returncode",
        ),
    ),
    Case(
        name="%cd there and back",
        cells=("%mkdir -p elsewhere\n%cd elsewhere", "%cd -", "%cd ..\n%cd -q -"),
    ),
    Case(
        name="a subprocess whose failure is handled",
        cells=(
            "import subprocess\ntry:\n    subprocess.run(['false'], check=True)\n"
            "except subprocess.CalledProcessError as error:\n    print(error)\n"
            "print(subprocess.run(['false']).returncode, subprocess.call(['false']))",
        ),
    ),
    # Children, threads, tasks.
    Case(
        name="a child process that is asked, or ended",
        cells=(
            "import subprocess, sys\nasked = subprocess.Popen(['false'])\n"
            "ended = subprocess.Popen(['sleep', '600'])\n"
            "with subprocess.Popen(['false']) as within:\n    pass",
            "ended.kill()\nprint(asked.wait())",
        ),
    ),
    Case(
        name="a child process that another way has killed",
        cells=(
            "import os, signal, subprocess\n"
            "one, two = (subprocess.Popen('sleep 600', shell=True, start_new_session=True)"
            " for _ in range(2))",
            "os.killpg(one.pid, signal.SIGKILL)\n!kill -9 {two.pid}",
        ),
    ),
    Case(
        name="a child process whose status is an answer",
        cells=(
            "import subprocess\n"
            "found = subprocess.Popen(['grep', 'x', '/dev/null'], stdout=subprocess.PIPE)\n"
            "print(found.stdout.read())",
            "subprocess.Popen('test -f none', shell=True)",
        ),
    ),
    Case(
        name="multiprocessing.Process that is asked, or ended",
        cells=(
            "import multiprocessing, sys, time\nforked = multiprocessing.get_context('fork')\n"
            "bad, long = forked.Process(target=sys.exit, args=(3,)), "
            "forked.Process(target=time.sleep, args=(600,))\n"
            "good = forked.Process(target=len, args=('',))\n"
            "for each in (bad, long, good):\n    each.start()\n"
            "long.terminate()\nfor each in (bad, long, good):\n    each.join()",
            "assert bad.exitcode == 3",
        ),
    ),
    Case(
        name="a pool of processes",
        cells=(
            "import multiprocessing, math\n"
            "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
            "    print(pool.map(math.sqrt, [4.0, 9.0]))\n"
            "    failing = pool.apply_async(math.sqrt, (-1,))\n"
            "    try:\n        failing.get()\n    except ValueError:\n        print('as it must')",
        ),
        shows="[2.0, 3.0]",
    ),
    Case(
        name="futures that failed and were asked",
        cells=(
            "import math\nfrom concurrent.futures import ThreadPoolExecutor, as_completed, wait\n"
            "pool = ThreadPoolExecutor(2)\n"
            "futures = [pool.submit(math.sqrt, n) for n in (4, -1)]\nwait(futures)",
            "for future in as_completed(futures):\n    print(future.exception())\n"
            "pool.submit(math.sqrt, -1).add_done_callback(lambda done: print(done.exception()))",
        ),
    ),
    Case(
        name="a future of asyncio's that failed and was awaited",
        cells=(
            "import asyncio\n\ndef load():\n    raise OSError('no data')",
            "held = asyncio.get_running_loop().run_in_executor(None, load)\n"
            "try:\n    await held\nexcept OSError:\n    print('as it must')",
        ),
    ),
    Case(
        name="the first error of a pool's results is handled",
        cells=(
            "import math\nfrom concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(1) as pool:\n    results = pool.map(math.sqrt, [4, -1, -9])",
            "try:\n    print(list(results))\nexcept ValueError:\n    print('as it must')",
        ),
        shows="as it must",
    ),
    Case(
        name="results of multiprocessing that failed and were asked",
        cells=(
            "import math\nfrom multiprocessing.pool import ThreadPool\nerrors = []\n"
            "with ThreadPool(2) as pool:\n"
            "    told = pool.apply_async(math.sqrt, (-1,), error_callback=errors.append)\n"
            "    asked = pool.map_async(math.sqrt, [4, -1])\n    told.wait()\n    asked.wait()",
            "assert errors and not asked.successful()",
        ),
    ),
    Case(
        name="a pool like joblib's",
        cells=(
            "import math\nfrom joblib import Parallel, delayed\n"
            "print(Parallel(2, prefer='threads')(delayed(math.sqrt)(n) for n in (4, 9)))\n"
            "try:\n    Parallel(2, prefer='threads')(delayed(math.sqrt)(n) for n in (4, -9))\n"
            "except ValueError:\n    print('as it must')",
        ),
        shows="as it must",
    ),
    Case(
        name="tasks that failed and were asked",
        cells=(
            "import asyncio\nasync def load(n):\n    await asyncio.sleep(n / 9)\n    return 1 / n\n"
            "tasks = [asyncio.create_task(load(n)) for n in (0, 1)]\n"
            "print(await asyncio.gather(*tasks, return_exceptions=True))\n"
            "held = asyncio.create_task(load(0))\nawait asyncio.sleep(0.1)",
            "assert isinstance(held.exception(), ZeroDivisionError)",
            "late = asyncio.create_task(load(600))\nlate.cancel()",
        ),
    ),
    Case(
        name="a daemon thread that lives on",
        cells=(
            "import threading, time\ndef beat():\n    while True:\n        time.sleep(0.05)\n"
            "threading.Thread(target=beat, daemon=True).start()",
        ),
    ),
    Case(
        name="a thread that outlives the notebook",
        cells=("import threading\nthreading.Thread(target=threading.Event().wait).start()",),
    ),
    Case(
        name="a task that lives on",
        cells=(
            "import asyncio\nasync def beat():\n    while True:\n        await asyncio.sleep(0.1)\n"
            "beating = asyncio.create_task(beat())",
        ),
    ),
    Case(
        name="a thread whose exception is handled",
        cells=(
            "import threading\ndef load():\n    try:\n        1 / 0\n    except ArithmeticError:\n"
            "        print('hand', 'led')\nloader = threading.Thread(target=load)\n"
            "loader.start()\nloader.join()",
        ),
    ),
    Case(
        name="progress bars in threads",
        cells=(
            "from tqdm.auto import tqdm\nfrom concurrent.futures import ThreadPoolExecutor\n"
            "with ThreadPoolExecutor(2) as pool:\n"
            "    print(sum(tqdm(pool.map(abs, range(50)), total=50)))",
        ),
        shows="1225",
    ),
    Case(
        name="atexit that prints",
        cells=("import atexit\natexit.register(print, 'bye')\natexit.register(len, '')",),
    ),
    Case(name="a warning", cells=("import warnings\nwarnings.warn('only so')",), shows="only so"),
    Case(
        name="an object that fails as it is deleted",
        cells=("class Bad:\n    def __del__(self):\n        1 / 0\nbad = Bad()\ndel bad", "1"),
    ),
    Case(
        name="a callback of tornado that is right",
        cells=("import tornado.ioloop\ntornado.ioloop.IOLoop.current().add_callback(print, 'x')",),
    ),
    # Parameters.
    Case(
        name="a computed default, and none given",
        cells=("print(steps)",),
        declares="import os\nsteps = len(os.sep) * 3",
        shows="3",
    ),
    Case(
        name="a computed default, and another one given",
        cells=("print('sum', steps + other)",),
        declares="steps = 3\nother = len('abc')",
        parameters=("steps=4",),
        shows="sum 7",
    ),
    Case(
        name="a parameter's name in texts and functions above its cell",
        cells=("train()",),
        above=(
            "%matplotlib inline\nprint('the steps', dict(steps=1))  # steps",
            "def train():\n    print('ste', steps)",
        ),
        parameters=("steps=5",),
        shows="ste 5",
    ),
]
