%%% @doc Python from Erlang, LFE and Elixir: the API, and nothing else.
%%%
%%% ```
%%% 1> py:start().
%%% {ok,started}
%%% 2> py:func(os, getcwd).
%%% "/home/me"
%%% 3> py:func('datetime.datetime', now).
%%% {"datetime",{2014,12,23,16,57,11,693773,undefined}}
%%% '''
%%%
%%% == Names, arguments, options ==
%%%
%%% Names are atoms or binaries. A module may be dotted (``'os.path'''), a target may be a whole path
%%% (``'os.path.isdir''') or a callable that Python returned. A `-' in a name is a `_' in Python.
%%%
%%% Arguments are a list; a binary among them is a Python `str', write `{bytes, B}' for `bytes' (in {@link pycall/3} a binary is
%%% `bytes'). Keywords are a proplist or a map. The last, optional argument is always a map of {@link options()}; so keywords
%%% given as a map need an options map after them.
%%%
%%% == Errors ==
%%%
%%% Every call fails in one of three ways (see {@link py_error}):
%%%
%%% <ul>
%%% <li>`error({python, Class, Text, Trace})': Python raised;</li>
%%% <li>`error({py, Reason})': the bridge failed, for example `timeout' or `not_started';</li>
%%% <li>`error(badarg)': an argument or an option is wrong, nothing was sent.</li>
%%% </ul>
-module(py).

-compile({no_auto_import, [abs/1, float/1, max/2, min/2, round/1]}).

-include("py_exports.hrl").
-export_type([arg/0, value/0, target/0, name/0, keywords/0, options/0, handle/0, request/0, outcome/0, stream_options/0]).

-type arg() :: py_term:arg().
%% Any term; see `docs/values.md' for what Python makes of it.
-type value() :: term().
%% What Python returned, mapped as the call's options say.
-type name() :: py_term:name().
-type target() :: py_term:target().
%% A dotted path, or a callable from Python.
-type keywords() :: py_term:keywords().
-type options() :: py_call_options:options().
%% Where a call goes, how long it may take, how values are mapped: see {@link py_call_options:options()}.
-type handle() :: py_async:handle().
%% A call that was started by {@link async/3} or {@link scatter/3}. Opaque.
-type request() :: py_async:request().
%% A call that was started by {@link send_request/3}. Opaque.
-type outcome() :: {ok, value()} | {error, py_error:python_error() | {py, py_error:reason()} | term()}.
%% How a call ended, where the error of one call must not hide the results of others.

-type stream_options() :: py_parallel_options:stream().
%% {@link options()}, and `window', the most items that Python may be ahead (default 256). `timeout' is that of one batch of
%% items, `return => ref' keeps each item in Python.

%%% Life

%% @doc Start the application and its pools; returns when Python serves. `erl -s py' calls this.
-spec start() -> {ok, started} | {error, term()}.
start() -> py_pools:start().

%% @doc Stop the application. Open calls may end, for as long as the `drain_timeout' of their pools (5 seconds unless said
%% otherwise); new ones get `{py, not_started}'. No Python process is left when it returns.
-spec stop() -> {ok, stopped}.
stop() -> py_admin:stop(default).

%% @doc Stop the application; open calls may end within `Drain' milliseconds, those that do not get `{py, {worker_down, stopped}}'.
-spec stop(Drain :: timeout()) -> {ok, stopped}.
stop(Drain) -> py_admin:stop(Drain).

%% @doc {@link stop/0}, then {@link start/0}.
-spec restart() -> {ok, restarted} | {error, term()}.
restart() -> py_admin:restart().

%% @doc Start one more pool under a name of its own. Errors: `badarg' for a bad option;
%% `{error, {py, {start, Name, Reason}}}' when its Python does not start; `{error, {py, {already_started, Pid}}}'.
-spec start_pool(py_config:pool_name(), py_pool_options:options()) -> {ok, pid()} | {error, {py, term()}}.
start_pool(Name, Options) -> py_admin:start_pool(Name, Options).

%% @doc Stop a pool and its workers; open calls may end, for as long as the pool's `drain_timeout'.
-spec stop_pool(py_config:pool_name()) -> ok | {error, {py, term()}}.
stop_pool(Name) -> py_admin:stop_pool(Name, default).

%% @doc Stop a pool; open calls may end within `Drain' milliseconds, those that do not get `{py, {worker_down, stopped}}'.
-spec stop_pool(py_config:pool_name(), Drain :: timeout()) -> ok | {error, {py, term()}}.
stop_pool(Name, Drain) -> py_admin:stop_pool(Name, Drain).

%% @doc A pool as a child of a supervisor of your own, in Erlang's and Elixir's lists of children: it is started, and started
%% again, by that supervisor alone, and when that ends it the open calls may end for as long as its `drain_timeout' says. Where it
%% can't go on (more deaths than supervisors bear) that supervisor decides. `badarg' for a bad option. Its start's errors are those of
%% {@link start_pool/2}, and `{py, not_started}': your application lists `py' among its `applications'.
-spec child_spec(py_config:pool_name(), py_pool_options:options()) -> supervisor:child_spec().
child_spec(Name, Options) -> py_admin:child_spec(Name, Options).

%% @doc `restart_pool(Name, #{})'.
-spec restart_pool(py_config:pool_name()) -> ok | {error, {py, term()}}.
restart_pool(Name) -> py_admin:restart_pool(Name, #{}).

%% @doc Give each worker of a pool a new Python, one after the other; returns when all serve. Open calls may end within
%% `drain_timeout', none is lost. With `start_first => true' each new worker serves before the old one leaves: the pool is never
%% smaller than it was, and has one worker more meanwhile. Errors: `{py, {start, Name, Reason}}' when a new one does not start (the
%% workers that have not been replaced stay), `{py, {unknown_pool, Name}}'.
-spec restart_pool(py_config:pool_name(), #{start_first => boolean()}) -> ok | {error, {py, term()}}.
restart_pool(Name, Options) -> py_admin:restart_pool(Name, Options).

%% @doc Have this many workers (1 to 1024) in a pool that runs. Returns when new ones serve, and when those that are too many
%% have ended their open calls, or their `drain_timeout' is over. Errors: `{py, {start, Name, Reason}}' when a new one does
%% not start (the pool keeps its size), `{py, {unknown_pool, Name}}'.
-spec resize(py_config:pool_name(), pos_integer()) -> ok | {error, {py, term()}}.
resize(Name, Size) -> py_admin:resize(Name, Size).

%% @doc One worker more; returns when it serves.
-spec add_worker(py_config:pool_name()) -> {ok, pid()} | {error, {py, term()}}.
add_worker(Name) -> py_admin:add_worker(Name).

%% @doc LFE py's name for {@link add_worker/1} of the pool `default'. Its argument, there the name of a process, is not used: a worker has none.
-spec 'add-server'(term()) -> {ok, pid()} | {error, {py, term()}}.
'add-server'(_Name) -> py_admin:add_worker(default).

%% @doc LFE py's name for the processes of {@link workers/0}.
-spec 'get-python-pids'() -> [pid()].
'get-python-pids'() -> [Worker || #{worker := Worker} <- workers()].

%% @doc Take a worker away: it takes no call any more, its open ones may end within `drain_timeout'. References that it holds
%% are gone. Errors: `{py, {unknown_worker, Worker}}', `{py, {last_worker, Name}}'.
-spec remove_worker(pid()) -> ok | {error, {py, term()}}.
remove_worker(Worker) -> py_admin:remove_worker(Worker).

%% @doc Give a worker a new Python; returns when that one serves. Open calls may end within `drain_timeout', calls that come
%% meanwhile go to other workers or wait: none is lost. References that it holds are gone.
-spec restart_worker(pid()) -> ok | {error, {py, term()}}.
restart_worker(Worker) -> py_admin:restart_worker(Worker).

%% @doc Load a Python module again (`importlib.reload') in all workers of all pools. Where it is not imported it is `not_loaded'.
-spec reload(name()) -> [{pid(), ok | not_loaded | {error, term()}}].
reload(Module) -> py_admin:reload(Module).

%% @doc The same in one pool.
-spec reload(py_config:pool_name(), name()) -> [{pid(), ok | not_loaded | {error, term()}}] | {error, {py, term()}}.
reload(Pool, Module) -> py_admin:reload(Pool, Module).

%% @doc Let Python programs of this user drive the pools, by a Unix socket: {@link py_gateway_options:options()}. Who connects to one of
%% the role `driver' may run any code as the node's user. Errors: `badarg' for a bad option; `{py, {gateway, Path, Text}}'.
-spec start_gateway(py_gateway_options:options()) -> {ok, Path :: file:filename()} | {error, {py, term()}}.
start_gateway(Options) -> py_admin:start_gateway(Options).

%% @doc End a gateway and its connections, whose tasks are cancelled. Errors: `{py, {gateway, Path, Text}}' where there is none.
-spec stop_gateway(Path :: file:name_all()) -> ok | {error, {py, term()}}.
stop_gateway(Path) -> py_admin:stop_gateway(Path).

%% @doc The gateways of this node: the path of each, its role, and the processes of its connections.
-spec gateways() -> [#{path := file:filename(), role := driver | front | observer, connections := [pid()]}].
gateways() -> py_gateway_sup:infos().

%% @doc Run a function whose calls that name no worker go all to the same one of the pool `default'.
-spec with_worker(fun(() -> Result)) -> Result.
with_worker(Fun) -> py_call:with_worker(with_worker, [default, Fun]).

%% @doc The same with a worker of a pool: its calls that name that pool go to it.
-spec with_worker(py_config:pool_name(), fun(() -> Result)) -> Result.
with_worker(Pool, Fun) -> py_call:with_worker(with_worker, [Pool, Fun]).

%% @doc What each worker is doing.
-spec workers() -> [py_worker:info()].
workers() -> py_pools:workers().

%% @doc What each worker of a pool is doing.
-spec workers(py_config:pool_name()) -> [py_worker:info()].
workers(Pool) -> py_pools:workers(Pool).

%% @doc How the calls of a pool of this node go, since it was started: which of them Python has begun (`running': worker, function, since when,
%% for how long), how many wait (`queue'), how many have ended (`calls'), how they failed (`errors', by kind), the 50th, 95th and 99th
%% percentile of the time that they waited in the worker and that they ran (`wait', `run', in microseconds), and how often a worker got
%% a new Python after a death (`restarts') and without one (`recycles'). Errors: `{py, {unknown_pool, Pool}}', `{py, not_started}'.
-spec stats(py_config:pool_name()) -> py_stats:stats().
stats(Pool) -> py_stats:pool(Pool).

%% @doc Print what there is of all that py needs, for each pool of the configuration: the interpreter, its versions, the codec; and what
%% is missing, with what to do about it. Works without the application running.
-spec doctor() -> ok.
doctor() -> py_doctor:print(py_admin:versions()).

%% @doc Print which pages {@link help/1} has.
-spec help() -> ok.
help() -> py_help:print().

%% @doc Of an atom: print the page of that topic (`calls', `pools', `sessions', ...), what the functions of that name do (`pmap'), or
%% a module (`py_session'); of one that is none of these, which come near. Of all else, a name of Python's in a binary or any value: the text
%% that Python's `help' shows.
-spec help(atom() | arg()) -> ok | value().
help(Name) when is_atom(Name) -> py_help:print(Name);
help(Value) -> py_call:object(help, [Value]).

%% @doc Print {@link workers/0} as a table.
-spec status() -> ok.
status() -> py_pool_table:status(workers()).

%% @doc Print {@link workers/1} as a table.
-spec status(py_config:pool_name()) -> ok.
status(Pool) -> py_pool_table:status(workers(Pool)).

%% @doc Show {@link workers/0} every second, with what has changed, until a key is pressed (enter, where the shell gives lines).
-spec top() -> ok.
top() -> py_top:run(1_000).

%% @doc The same in another rhythm, in milliseconds.
-spec top(pos_integer()) -> ok.
top(EveryMs) -> py_top:run(EveryMs).

%%% Functions

%% @doc Call what a path names, or a callable, without arguments.
-spec func(target()) -> value().
func(Target) -> py_call:func(func, [Target]).

%% @doc `func(Module, Function)', `func(Target, Args)' or `func(Target, Options)'.
-spec func(target(), name() | [arg()] | options()) -> value().
func(Target, X) -> py_call:func(func, [Target, X]).

%% @doc `func(Module, Function, Args)', `func(Module, Function, Options)', `func(Target, Args, Keywords)' or
%% `func(Target, Args, Options)'.
-spec func(target(), name() | [arg()], [arg()] | keywords() | options()) -> value().
func(Target, X, Y) -> py_call:func(func, [Target, X, Y]).

%% @doc `func(Module, Function, Args, Keywords)', `func(Module, Function, Args, Options)' or `func(Target, Args, Keywords, Options)'.
-spec func(target(), name() | [arg()], [arg()] | keywords(), keywords() | options()) -> value().
func(Target, X, Y, Z) -> py_call:func(func, [Target, X, Y, Z]).

%% @doc Call a function of a module with positional and keyword arguments.
-spec func(name(), name(), [arg()], keywords(), options()) -> value().
func(Module, Function, Args, Keywords, Options) -> py_call:func(func, [Module, Function, Args, Keywords, Options]).

%%% Objects, ErlPort's call, shared memory

%% @doc Make an object: {@link func/1} under the name that says so.
-spec init(target()) -> value().
init(Class) -> py_call:func(init, [Class]).

%% @doc Make an object; arguments are those of {@link func/2} to {@link func/5}.
-spec init(target(), name() | [arg()] | options()) -> value().
init(Target, X) -> py_call:func(init, [Target, X]).

-spec init(target(), name() | [arg()], [arg()] | keywords() | options()) -> value().
init(Target, X, Y) -> py_call:func(init, [Target, X, Y]).

-spec init(target(), name() | [arg()], [arg()] | keywords(), keywords() | options()) -> value().
init(Target, X, Y, Z) -> py_call:func(init, [Target, X, Y, Z]).

-spec init(name(), name(), [arg()], keywords(), options()) -> value().
init(Module, Class, Args, Keywords, Options) -> py_call:func(init, [Module, Class, Args, Keywords, Options]).

%% @doc The value that a dotted path names.
-spec const(name()) -> value().
const(Path) -> py_call:const(const, [Path]).

%% @doc `const(Module, Name)' or `const(Path, Options)'; of an object that is neither a name nor a list, as in LFE py, `const(Object, str)': what its `__str__()' gives.
-spec const(name() | arg(), name() | options()) -> value().
const(Module, X) -> py_call:const(const, [Module, X]).

%% @doc `const(Module, Name, Type)', converted by a type such as `float', `int' or `str', or `const(Module, Name, Options)'.
-spec const(name(), name(), name() | options()) -> value().
const(Module, Name, X) -> py_call:const(const, [Module, Name, X]).

%% @doc An object's attribute.
-spec attr(arg(), name()) -> value().
attr(Object, Name) -> py_call:attr(attr, [Object, Name]).

-spec attr(arg(), name(), options()) -> value().
attr(Object, Name, Options) -> py_call:attr(attr, [Object, Name, Options]).

%% @doc Call an object's method without arguments.
-spec method(arg(), name()) -> value().
method(Object, Name) -> py_call:method(method, [Object, Name]).

%% @doc `method(Object, Name, Args)' or `method(Object, Name, Options)'.
-spec method(arg(), name(), [arg()] | options()) -> value().
method(Object, Name, X) -> py_call:method(method, [Object, Name, X]).

%% @doc `method(Object, Name, Args, Keywords)' or `method(Object, Name, Args, Options)'.
-spec method(arg(), name(), [arg()], keywords() | options()) -> value().
method(Object, Name, Args, X) -> py_call:method(method, [Object, Name, Args, X]).

%% @doc Call an object's method.
-spec method(arg(), name(), [arg()], keywords(), options()) -> value().
method(Object, Name, Args, Keywords, Options) -> py_call:method(method, [Object, Name, Args, Keywords, Options]).

%% @doc ErlPort's `python:call/4' on a worker of the pool: no keywords, binaries are `bytes'.
-spec pycall(name(), name()) -> value().
pycall(Module, Function) -> py_call:pycall(pycall, [Module, Function]).

%% @doc `pycall(Module, Function, Args)' or `pycall(Module, Function, Options)'.
-spec pycall(name(), name(), [arg()] | options()) -> value().
pycall(Module, Function, X) -> py_call:pycall(pycall, [Module, Function, X]).

%% @doc ErlPort's call with options.
-spec pycall(name(), name(), [arg()], options()) -> value().
pycall(Module, Function, Args, Options) -> py_call:pycall(pycall, [Module, Function, Args, Options]).

%% @doc Forget a reference or a list of them; the Python objects go when nothing else holds them. Shared memory is freed,
%% whoever owns it: every term that means a part of it is stale then.
-spec release(py_term:ref() | py_term:shm() | [py_term:ref() | py_term:shm()]) -> ok.
release(References) -> py_call:release(release, [References]).

%% @doc Copy a binary or an array, `{"ndarray", {Dtype, Shape, Binary}}', into shared memory. What comes back is small; the
%% workers of this node that get it as an argument map it. It belongs to the calling process. Errors: `{py, {shared_memory, Text}}'
%% where there is no room within `max_shared_bytes'.
-spec share(py_shared:value()) -> py_term:shm().
share(Value) -> py_shared:share([Value]).

%% @doc The bytes of shared memory, also of another node's: a binary, or `{"ndarray", {Dtype, Shape, Binary}}'. Errors:
%% `{py, {stale_reference, Text}}' where it was freed, `{py, {node_down, Node}}'.
-spec value(py_term:shm()) -> py_shared:value().
value(Shm) -> py_shared:value([Shm]).

%% @doc Up to `Count' parts of a shared array along its first axis, or of shared bytes, in order, for as many calls. Copies
%% nothing and asks nobody.
-spec split(py_term:shm(), Count :: pos_integer()) -> [py_term:shm()].
split(Shm, Count) -> py_shared:split([Shm, Count]).

%% @doc How many files of shared memory there are, how many bytes are in use, how many of those by what a Python maps after its
%% release, and how many there may be (`max_shared_bytes').
-spec shared_memory() -> py_shared_owner:info() | {error, {py, not_started}}.
shared_memory() -> py_shared:info().

%%% In parallel

%% @doc One call on every worker of the pool, at the same time: `{Worker, {ok, Value} | {error, Error}}' for each. A call
%% that fails leaves the others alone.
-spec call_all(name(), name(), [arg()]) -> [{Worker :: pid(), outcome()}].
call_all(Module, Function, Args) -> py_parallel:call_all(call_all, [Module, Function, Args]).

%% @doc The same with the options of each call, all but `worker'.
-spec call_all(name(), name(), [arg()], options()) -> [{Worker :: pid(), outcome()}].
call_all(Module, Function, Args, Options) -> py_parallel:call_all(call_all, [Module, Function, Args, Options]).

%% @doc One call on each of so many different workers, those with the least to do. `badarg' where the pool has fewer.
-spec call_n(pos_integer(), name(), name(), [arg()]) -> [{Worker :: pid(), outcome()}].
call_n(Count, Module, Function, Args) -> py_parallel:call_n(call_n, [Count, Module, Function, Args]).

%% @doc The same with the options of each call, all but `worker'.
-spec call_n(pos_integer(), name(), name(), [arg()], options()) -> [{Worker :: pid(), outcome()}].
call_n(Count, Module, Function, Args, Options) -> py_parallel:call_n(call_n, [Count, Module, Function, Args, Options]).

%% @doc Start a call and go on. {@link await/1} gives its result to the process that started it; when that process ends, so
%% does the call. References in the result belong to it. Nothing is sent to it that it does not wait for.
-spec async(name(), name(), [arg()]) -> handle().
async(Module, Function, Args) -> py_parallel:async(async, [Module, Function, Args]).

%% @doc `async(Module, Function, Args, Keywords)' or `async(Module, Function, Args, Options)'.
-spec async(name(), name(), [arg()], keywords() | options()) -> handle().
async(Module, Function, Args, X) -> py_parallel:async(async, [Module, Function, Args, X]).

%% @doc Start a call with keywords and options. The option `timeout' counts from now.
-spec async(name(), name(), [arg()], keywords(), options()) -> handle().
async(Module, Function, Args, Keywords, Options) ->
    py_parallel:async(async, [Module, Function, Args, Keywords, Options]).

%% @doc The result of a call, or its error, raised as {@link func/3} raises it. `{py, cancelled}' after {@link cancel/1};
%% `badarg' in another process than the one that started the call, and where the result was taken before.
-spec await(handle()) -> value().
await(Handle) -> py_parallel:await(await, [Handle]).

%% @doc The same for at most so many milliseconds; then the call is cancelled, and the error is `{py, timeout}'.
-spec await(handle(), timeout()) -> value().
await(Handle, Timeout) -> py_parallel:await(await, [Handle, Timeout]).

%% @doc The result of a call if it is there within so many milliseconds, 0 among them; `timeout' otherwise, and the call goes on.
%% Fails as {@link await/1} does.
-spec yield(handle(), timeout()) -> {value, value()} | timeout.
yield(Handle, Timeout) -> py_parallel:yield(yield, [Handle, Timeout]).

%% @doc End a call, or forget its result. `ok' also where it is over, or was cancelled before. Any process may do this.
-spec cancel(handle() | request()) -> ok.
cancel(Handle) -> py_parallel:cancel(cancel, [Handle]).

%% @doc Start a call whose result comes to this process as a message, for {@link check_response/2}. It ends with this process.
-spec send_request(name(), name(), [arg()]) -> request().
send_request(Module, Function, Args) -> py_response:send_request(send_request, [Module, Function, Args]).

%% @doc `send_request(Module, Function, Args, Keywords)' or `send_request(Module, Function, Args, Options)'.
-spec send_request(name(), name(), [arg()], keywords() | options()) -> request().
send_request(Module, Function, Args, X) -> py_response:send_request(send_request, [Module, Function, Args, X]).

%% @doc The same with keywords and options. The option `timeout' counts from now.
-spec send_request(name(), name(), [arg()], keywords(), options()) -> request().
send_request(Module, Function, Args, Keywords, Options) ->
    py_response:send_request(send_request, [Module, Function, Args, Keywords, Options]).

%% @doc What a message says of a request: its result, its error, or `no_reply' where it is about something else.
-spec check_response(Message :: term(), request()) -> {reply, value()} | {error, term()} | no_reply.
check_response(Message, Request) -> py_response:check(check_response, [Message, Request]).

%% @doc Wait for the message of a request; after so many milliseconds the call is cancelled, and no message comes.
-spec receive_response(request(), timeout()) -> {reply, value()} | {error, term()} | timeout.
receive_response(Request, Timeout) -> py_response:receive_response(receive_response, [Request, Timeout]).

%% @doc The same, but after that time the call goes on, and its message comes later.
-spec wait_response(request(), timeout()) -> {reply, value()} | {error, term()} | timeout.
wait_response(Request, Timeout) -> py_response:wait_response(wait_response, [Request, Timeout]).

%% @doc Start a call for each list of arguments. A worker has two of them in hand at most, the others wait for their turn.
-spec scatter(name(), name(), [[arg()]]) -> [handle()].
scatter(Module, Function, ArgLists) -> py_parallel:scatter(scatter, [Module, Function, ArgLists]).

%% @doc The same with the options of each call, and `window', how many a worker has in hand at most. `timeout' is each
%% call's, and counts from now.
-spec scatter(name(), name(), [[arg()]], py_parallel_options:scatter()) -> [handle()].
scatter(Module, Function, ArgLists, Options) -> py_parallel:scatter(scatter, [Module, Function, ArgLists, Options]).

%% @doc The results of calls in the order of their handles. The first call that fails is raised at once, and cancels the rest.
-spec gather([handle()]) -> [value()].
gather(Handles) -> py_parallel:gather(gather, [Handles]).

%% @doc The same for at most so many milliseconds; then the calls that are not done are cancelled, and the error is `{py, timeout}'.
-spec gather([handle()], timeout()) -> [value()].
gather(Handles, Timeout) -> py_parallel:gather(gather, [Handles, Timeout]).

%% @doc The outcomes of calls, `{ok, Value}' or `{error, Error}', in the order of their handles.
-spec gather_all([handle()]) -> [outcome()].
gather_all(Handles) -> py_parallel:gather_all(gather_all, [Handles]).

%% @doc The same for at most so many milliseconds; then the calls that are not done are cancelled, and have `{error, {py, timeout}}'.
-spec gather_all([handle()], timeout()) -> [outcome()].
gather_all(Handles, Timeout) -> py_parallel:gather_all(gather_all, [Handles, Timeout]).

%% @doc `Fun(Handle, Outcome, Acc)' of each call, in the order in which they are done; what it gives at last. An outcome is
%% `{ok, Value}' or `{error, Error}'. If `Fun' fails, the calls that it has not seen are cancelled.
-spec fold_done(fun((handle(), outcome(), Acc) -> Acc), Acc, [handle()]) -> Acc.
fold_done(Fun, Acc, Handles) -> py_parallel:fold_done(fold_done, [Fun, Acc, Handles]).

%% @doc The same for at most so many milliseconds, as {@link gather_all/2}.
-spec fold_done(fun((handle(), outcome(), Acc) -> Acc), Acc, [handle()], timeout()) -> Acc.
fold_done(Fun, Acc, Handles, Timeout) -> py_parallel:fold_done(fold_done, [Fun, Acc, Handles, Timeout]).

%% @doc Send a message to the message handler that Python code has set (`erl.set_message_handler'): to that of a worker, or of
%% one worker of a pool, which its scheduler chooses. Whether there is one is not told. It does not wait for a node that does not read: see `docs/distributed.md'.
%% Errors: `{py, {unknown_pool, Name}}', `{py, {unknown_worker, Worker}}', `{py, overload}'.
-spec cast(pid() | py_config:pool_name(), term()) -> ok | {error, {py, term()}}.
cast(To, Message) -> py_call:cast(cast, [To, Message]).

%%% Streams

%% @doc The items of what a call gives (see {@link func/1}), or of an iterable such as a reference to an iterator. The stream
%% belongs to the process that calls this. Nothing is iterated before the first {@link stream_next/1}.
-spec stream(target()) -> py_stream:stream().
stream(Target) -> py_stream:open([Target]).

%% @doc `stream(Module, Function)', `stream(Target, Args)' or `stream(Target, Options)'.
-spec stream(target(), name() | [arg()] | stream_options()) -> py_stream:stream().
stream(Target, X) -> py_stream:open([Target, X]).

%% @doc `stream(Module, Function, Args)', `stream(Module, Function, Options)', `stream(Target, Args, Keywords)' or
%% `stream(Target, Args, Options)'.
-spec stream(target(), name() | [arg()], [arg()] | keywords() | stream_options()) -> py_stream:stream().
stream(Target, X, Y) -> py_stream:open([Target, X, Y]).

%% @doc `stream(Module, Function, Args, Keywords)', `stream(Module, Function, Args, Options)' or
%% `stream(Target, Args, Keywords, Options)'.
-spec stream(target(), name() | [arg()], [arg()] | keywords(), keywords() | stream_options()) -> py_stream:stream().
stream(Target, X, Y, Z) -> py_stream:open([Target, X, Y, Z]).

%% @doc The items of what a function of a module gives for positional and keyword arguments.
-spec stream(name(), name(), [arg()], keywords(), stream_options()) -> py_stream:stream().
stream(Module, Function, Args, Keywords, Options) -> py_stream:open([Module, Function, Args, Keywords, Options]).

%% @doc The next item; waits for it. `done' after the last one, after an error, and when the stream is closed. Fails as the
%% iterator does, when the items before that have been read, and with `{py, {worker_down, _}}' when its Python is gone.
-spec stream_next(py_stream:stream()) -> {ok, value()} | done.
stream_next(Stream) -> py_stream:next([Stream]).

%% @doc The same within this many milliseconds. `{py, timeout}': nothing is lost, the stream can be read on.
-spec stream_next(py_stream:stream(), timeout()) -> {ok, value()} | done.
stream_next(Stream, Timeout) -> py_stream:next([Stream, Timeout]).

%% @doc `lists:foldl/3' over the items that are left. Fails as {@link stream_next/1} does; when `Fun' fails, the stream is closed.
-spec stream_fold(fun((value(), Acc) -> Acc), Acc, py_stream:stream()) -> Acc.
stream_fold(Fun, Acc, Stream) -> py_stream:fold([Fun, Acc, Stream]).

%% @doc Close a stream, or a source; one that has ended is closed already. Returns when Python has closed the generator, and
%% fails as that fails.
-spec stream_close(py_stream:stream() | py_source:source()) -> ok.
stream_close(Stream) -> py_stream:close([Stream]).

%% @doc An argument, at any depth, that Python iterates over. The function gives `{ok, Item}', a list of items, or `done', and
%% runs in a process of its own. A pid is that of a `gen_server', which answers `{py_next, Most}' with a list or `done'. The
%% source belongs to the process that calls this.
-spec source(py_source:producer()) -> py_source:source().
source(Producer) -> py_source:new([Producer]).

%% @doc The same, `binaries => bytes' for items whose binaries are `bytes' (default `str'), `none => nil' for those whose `None' is `nil'.
-spec source(py_source:producer(), py_parallel_options:source()) -> py_source:source().
source(Producer, Options) -> py_source:new([Producer, Options]).

-include("py_lists.hrl").
-include("py_builtins.hrl").
