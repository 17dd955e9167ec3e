%%% @doc The three kinds of failure, kept apart, and how the shell shows them.
%%%
%%% <ul>
%%% <li>Python raised: `error({python, Class, Text, Trace})', see {@link python_error()};</li>
%%% <li>the bridge failed: `error({py, Reason})', see {@link reason()};</li>
%%% <li>the caller erred: `error(badarg)', before anything is sent.</li>
%%% </ul>
%%%
%%% Each carries `error_info' (EEP 54), so the shell prints the Python traceback, or which argument was wrong and why,
%%% under the error.
-module(py_error).

-export([from_python/1, raise/2, badarg/3, format_error/2, text/1, start_text/1]).
-export_type([python_error/0, erlang_error/0, reason/0, frame/0, api/0]).

-type frame() ::
    {File :: string(), Line :: non_neg_integer(), Function :: string(), Source :: string()}
    | {cause, Class :: atom(), Text :: string(), [frame()]}
    | {item, pos_integer()}.
%% A line of a Python traceback, innermost first as in Erlang's; then the exception that this one was raised from; then,
%% for a list that was worked on in chunks, the position of the item.
-type python_error() :: {python, Class :: atom(), Text :: string(), [frame()]}.
%% `Class' is the full name, such as `builtins.ZeroDivisionError'.
-type erlang_error() :: {erlang, error | exit | throw, Reason :: term(), Stacktrace :: [tuple()]}.
%% What an Erlang function raised that Python called, and that Python let pass.
-type reason() ::
    timeout
    | not_started
    | {worker_down, py_worker:down_reason() | term()}
    | overload
    | {scheduler, term()}
    | {last_worker, py_config:pool_name()}
    | {too_many_workers, pos_integer()}
    | {unknown_pool, term()}
    | {unknown_worker, term()}
    | {stale_reference, string() | py_term:ref()}
    | {shared_memory, string()}
    | {elsewhere, string()}
    | {no_shared_memory, string()}
    | {encode, string()}
    | {decode, string()}
    | {protocol, term()}
    | {node_down, node()}
    | {not_distributed, node()}
    | {ship, term()}
    | cancelled
    | session_closed
    | {session_restarted, py_worker:down_reason() | term()}
    | {too_many_sessions, pos_integer()}
    | {start, term(), term()}
    | {already_started, pid()}
    | {bad_config, term(), py_config:problem()}.
-type api() :: {Function :: atom(), Args :: [term()]} | {module(), Function :: atom(), Args :: [term()]}.
%% What was called: a function of `py' where no module is named.

%% @doc A Python exception as an error of its kind: what the bridge's own Python raises is the bridge's.
-spec from_python(term()) -> python_error() | erlang_error() | {py, reason()} | term().
from_python({python, 'erl.errors.EncodeError', Text, _}) -> {py, {encode, Text}};
from_python({python, 'erl.errors.DecodeError', Text, _}) -> {py, {decode, Text}};
from_python({python, 'erl.errors.SharedMemoryError', Text, _}) -> {py, {shared_memory, Text}};
from_python({python, 'erl.errors.ElsewhereError', Text, _}) -> {py, {elsewhere, Text}};
from_python({python, 'erl.errors.NoSharedMemoryError', Text, _}) -> {py, {no_shared_memory, Text}};
from_python({python, 'erl.errors.StaleReferenceError', Text, _}) -> {py, {stale_reference, Text}};
from_python({erlang, {'$erlport.opaque', erlang, Bytes}} = Error) when is_binary(Bytes) ->
    case py_atoms:decode(Bytes) of
        {ok, {Class, Reason, Stack}} -> {erlang, Class, Reason, Stack};
        _ -> Error
    end;
from_python(Error) -> Error.

%% @doc Fail as the API function that was called, which the tail calls below it have taken off the stack.
-spec raise(term(), api()) -> no_return().
raise({erlang, Class, Reason, Stack} = Error, Api) ->
    Frames = [Frame || {M, F, _, Info} = Frame <- proper(Stack), is_atom(M), is_atom(F), is_list(Info)],
    %% As it was raised there. A class or a frame that is none, from Python code that made one up, is a value.
    _ = erlang:raise(Class, Reason, Frames ++ [called(Api, []) | callers()]),
    raise(Error, Api, #{});
raise(Reason, Api) ->
    raise(Reason, Api, #{}).

%% @doc `badarg' for the argument at this position.
-spec badarg(pos_integer(), unicode:chardata(), api()) -> no_return().
badarg(Position, Why, Api) -> raise(badarg, Api, #{Position => unicode:characters_to_binary(Why)}).

-spec raise(term(), api(), map()) -> no_return().
raise(Reason, Api, Cause) ->
    Info = [{error_info, #{module => ?MODULE, cause => Cause}}],
    erlang:raise(error, Reason, [called(Api, Info) | callers()]).

called({Function, Args}, Info) -> {py, Function, Args, Info};
called({Module, Function, Args}, Info) -> {Module, Function, Args, Info}.

proper(Stack) when length(Stack) >= 0 -> Stack;
proper(_) -> [].

callers() ->
    {current_stacktrace, Stack} = process_info(self(), current_stacktrace),
    lists:dropwhile(fun({Module, _, _, _}) -> is_ours(Module) end, Stack).

is_ours(Module) ->
    lists:member(Module, [py_error, py_call, py_parallel, py_stream, py_source, py_shared, py_cluster, py_session, py]).

%% @doc What the shell prints under an error of ours (EEP 54).
-spec format_error(term(), [tuple()]) -> #{general | pos_integer() => unicode:chardata()}.
format_error(Reason, [{_Module, _Function, _Args, Info} | _]) ->
    #{cause := Cause} = proplists:get_value(error_info, Info, #{cause => #{}}),
    case text(Reason) of
        "" -> Cause;
        %% The shell indents the first line only.
        Text -> Cause#{general => string:replace(Text, "\n", "\n     ", all)}
    end.

%% @doc A failure for people: Python's traceback, or what was wrong and what to do.
-spec text(term()) -> unicode:chardata().
text({python, Class, Text, Trace}) when is_atom(Class), is_list(Trace) ->
    traceback(Class, Text, Trace);
text({erlang, Class, Reason, Stack}) when is_atom(Class), is_list(Stack) ->
    io_lib:format("an Erlang function that Python called raised ~tp: ~tP", [Class, Reason, 20]);
text({py, Reason}) ->
    reason(Reason);
text(_) ->
    "".

traceback(Class, Text, Trace) ->
    Frames = [Frame || {_, _, _, _} = Frame <- Trace, element(1, Frame) =/= cause],
    [
        [io_lib:format("In item ~w of the list:~n", [Index]) || {item, Index} <- Trace],
        [[traceback(C, T, F), "\n\nThat led to:\n\n"] || {cause, C, T, F} <- Trace],
        ["Traceback (most recent call last):\n" || Frames =/= []],
        [frame(Frame) || Frame <- lists:reverse(Frames)],
        atom_to_list(Class),
        [[": ", Text] || Text =/= ""]
    ].

frame({File, Line, Function, Source}) ->
    [
        io_lib:format("  File \"~ts\", line ~w, in ~ts~n", [File, Line, Function]),
        ["    " ++ Source ++ "\n" || Source =/= ""]
    ].

reason(timeout) -> "the call did not end within its timeout";
reason(not_started) -> "the application py is not running, or not yet; py:start() starts it";
reason(overload) -> "all workers of the pool have as many calls waiting as its max_queue allows";
reason({scheduler, Term}) -> io_lib:format("the pool's scheduler chose no worker of it: ~tP", [Term, 20]);
reason({last_worker, Pool}) -> io_lib:format("it is the last worker of pool ~tp; py:stop_pool/1 stops the pool", [Pool]);
reason({too_many_workers, Most}) -> io_lib:format("a pool has ~w workers at most", [Most]);
reason({unknown_pool, Name}) -> io_lib:format("there is no pool ~tp; there are ~tp", [Name, py_table:pools()]);
reason({unknown_worker, Worker}) -> io_lib:format("~tp is no worker; py:workers() lists them", [Worker]);
reason({worker_down, {start, Reason}}) -> start_text(Reason);
reason({worker_down, Reason}) -> ["the worker's Python ended: ", down(Reason)];
reason({stale_reference, Text}) when is_list(Text) -> Text;
reason({stale_reference, Reference}) -> io_lib:format("the worker of ~tp is gone", [Reference]);
reason({shared_memory, Text}) -> Text;
reason({elsewhere, Text}) -> Text;
reason({no_shared_memory, Text}) -> Text;
reason({encode, Text}) -> Text;
reason({decode, Text}) -> Text;
reason({protocol, Reason}) -> io_lib:format("Python sent what can't be read: ~tP", [Reason, 20]);
reason({node_down, Node}) -> io_lib:format("no connection to ~tp", [Node]);
reason({not_distributed, Node}) ->
    io_lib:format("this node has no name to connect to ~tp with: start it with -sname or -name", [Node]);
reason({ship, sandboxed}) ->
    "modules come from the pool default, and it is in sandboxes: what it says a module is is not run elsewhere";
reason({ship, Reason}) -> io_lib:format("the code could not be put there: ~tP", [Reason, 20]);
reason({already_started, Pool}) -> io_lib:format("a pool of that name runs already: ~tp", [Pool]);
reason(cancelled) -> "the call was cancelled";
reason(session_closed) -> "the session is closed: by py_session:close/1, by an eval that gave its value, or with its owner";
reason({session_restarted, Reason}) ->
    [
        "the session's Python ended: ",
        down(Reason),
        "\nThe session has a new one from now on, in which its init runs again; what else was defined is lost."
    ];
reason({too_many_sessions, Most}) ->
    io_lib:format("~w sessions are open, as many as the application's sessions => #{max => ~w} allows", [Most, Most]);
reason({start, Pool, Reason}) -> io_lib:format("pool ~tp did not start: ~ts", [Pool, start_text(Reason)]);
reason({bad_config, Pool, Problem}) ->
    io_lib:format("the configuration of ~ts: ~ts", [configured(Pool), py_config:describe(Problem)]);
reason(Reason) -> io_lib:format("~tP", [Reason, 20]).

configured(sessions) -> "sessions";
configured(Pool) -> io_lib:format("pool ~tp", [Pool]).

down({exit_status, Status, Lines}) -> io_lib:format("exit status ~w~ts", [Status, said(Lines)]);
down({signal, Signal, Lines}) -> io_lib:format("signal ~w~ts~ts", [Signal, signal(Signal), said(Lines)]);
down({memory, Bytes}) ->
    io_lib:format("the processes of its sandbox had ~w bytes together, more than max_memory, and were killed", [Bytes]);
down({deadline, killed}) -> "it was killed after a call outlived its deadline";
down({protocol, Head}) -> io_lib:format("it broke the protocol with ~tP and was killed", [Head, 20]);
down(recycled) -> "it was replaced, and this call had not ended within the pool's drain_timeout";
down(stopped) -> "it was stopped";
down(replaced) -> "another has taken its place, which does not have what the first one had begun";
down(restarting) -> "it is being restarted";
down(closed) -> "it closed its port";
down(Reason) -> io_lib:format("~tP", [Reason, 20]).

said("") -> "";
said(Lines) -> ["; the last that it wrote to standard error:\n", Lines].

signal(6) -> " (abort)";
signal(9) -> " (kill)";
signal(11) -> " (segmentation fault)";
signal(15) -> " (termination)";
signal(24) -> " (its CPU seconds are used up)";
signal(_) -> "".

%% @doc Why an interpreter did not start, and what to do about it.
-spec start_text(term()) -> unicode:chardata().
start_text({start, Reason}) ->
    start_text(Reason);
start_text({no_python, Source, Path}) ->
    io_lib:format("no executable ~ts (~ts)", [Path, source(Source)]);
start_text({no_directory, Path}) ->
    io_lib:format("the pool's cd option names no directory: ~ts", [Path]);
start_text({sandbox, Reason}) ->
    py_sandbox:text(Reason);
start_text({open_port, Path, Reason}) ->
    io_lib:format("can't start ~ts: ~tp", [Path, Reason]);
start_text({failed, Python, ""}) ->
    io_lib:format("~ts ended before it answered, and said nothing", [Python]);
start_text({failed, Python, Text}) ->
    io_lib:format("~ts did not start:~n~ts", [Python, Text]);
start_text({no_answer, Python, Timeout}) ->
    io_lib:format("~ts did not answer within its start_timeout of ~w ms", [Python, Timeout]);
start_text({configure, Error}) ->
    ["its Python refused the configuration: ", text(from_python(Error))];
start_text({on_start, Error}) ->
    ["on_start failed:\n", text(from_python(Error))];
start_text(Reason) ->
    io_lib:format("~tP", [Reason, 20]).

source(python_option) -> "from the pool's python option";
source('PY_PYTHON') -> "from PY_PYTHON";
source('VIRTUAL_ENV') -> "from VIRTUAL_ENV";
source(checkout) -> "the checkout's virtual environment; `make setup' makes it anew";
source(path) -> "looked for on PATH; set PY_PYTHON or the pool's python option".
