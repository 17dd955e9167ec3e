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

-export([from_python/1, raise/2, badarg/3, format_error/2, text/1, start_text/1, source_text/1]).
-export_type([python_error/0, erlang_error/0, reason/0, frame/0, api/0]).

%% What is shown of a text, at most.
-define(MOST_SHOWN_BYTES, 65_536).

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
    | {no_directory, string()}
    | {worker_down, py_worker:down_reason() | term()}
    | overload
    | {nested, Most :: pos_integer()}
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

%% As far as it is looked at: a class of ours with anything else was made up.
-define(IS_TEXT(Text), (is_list(Text) orelse is_binary(Text))).

%% @doc A Python exception as an error of its kind: what the bridge's own Python raises is the bridge's.
-spec from_python(term()) -> python_error() | erlang_error() | {py, reason()} | term().
from_python({python, 'erl.errors.EncodeError', Text, _}) when ?IS_TEXT(Text) -> {py, {encode, Text}};
from_python({python, 'erl.errors.DecodeError', Text, _}) when ?IS_TEXT(Text) -> {py, {decode, Text}};
from_python({python, 'erl.errors.SharedMemoryError', Text, _}) when ?IS_TEXT(Text) -> {py, {shared_memory, Text}};
from_python({python, 'erl.errors.ElsewhereError', Text, _}) when ?IS_TEXT(Text) -> {py, {elsewhere, Text}};
from_python({python, 'erl.errors.NoSharedMemoryError', Text, _}) when ?IS_TEXT(Text) -> {py, {no_shared_memory, Text}};
from_python({python, 'erl.errors.StaleReferenceError', Text, _}) when ?IS_TEXT(Text) -> {py, {stale_reference, Text}};
from_python({erlang, {'$erlport.opaque', erlang, Bytes}} = Error) when is_binary(Bytes) ->
    case py_atoms:decode(Bytes) of
        {ok, {Class, Reason, Stack}} -> {erlang, Class, Reason, Stack};
        _ -> Error
    end;
from_python(Error) -> Error.

%% @doc Fail as the API function that was called, which the tail calls below it have taken off the stack.
-spec raise(term(), api()) -> no_return().
raise({erlang, Class, Reason, Stack} = Error, Api) ->
    Frames = as_shown([Frame || {M, F, _, Info} = Frame <- proper(Stack), is_atom(M), is_atom(F), is_list(Info)], Api),
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

called({Function, Args}, Info) -> called({py, Function, Args}, Info);
called({Module, Function, Args}, Info) ->
    case showing(Args) of
        cut -> {Module, Function, py_excerpt:arguments(Args), Info};
        none -> {Module, Function, length(Args), Info};
        all -> {Module, Function, Args, Info}
    end.

%% Those of an Erlang function that Python called had their arguments from Python, which had its own from the call.
as_shown(Frames, Api) ->
    case showing(element(tuple_size(Api), Api)) of
        cut -> py_excerpt:stack(Frames);
        none -> [{M, F, if length(Args) >= 0 -> length(Args); true -> Args end, Info} || {M, F, Args, Info} <- Frames];
        all -> Frames
    end.

%% What the call's own options say, those of its pool, or the application.
showing(Args) ->
    Options =
        case Args of
            [_ | _] -> lists:last(Args);
            [] -> none
        end,
    case Options of
        #{show_arguments := Given} when Given =:= cut; Given =:= none; Given =:= all -> Given;
        #{pool := Pool} -> of_pool(Pool);
        _ -> of_pool(default)
    end.

of_pool(Pool) ->
    case py_registry:pool(Pool) of
        {ok, #{show_arguments := Given}} when Given =/= undefined -> Given;
        _ -> py_config:show_arguments()
    end.

proper(Stack) when length(Stack) >= 0 -> Stack;
proper(_) -> [].

%% The caller and its callers: none of the functions that the API is made of, wherever they stand.
callers() ->
    {current_stacktrace, Stack} = process_info(self(), current_stacktrace),
    Ours = ours(),
    [
        Frame
     || {Module, _, _, _} = Frame <- lists:dropwhile(fun({Module, _, _, _}) -> lists:member(Module, Ours) end, Stack),
        lists:member(Module, api()) orelse not lists:member(Module, Ours)
    ].

ours() ->
    case application:get_key(py, modules) of
        {ok, Modules} ->
            Modules;
        undefined ->
            %% Nobody has started it yet.
            case application:load(py) of
                ok -> ours();
                {error, _} -> [?MODULE | api()]
            end
    end.

api() -> [py, 'py-util', py_session, py_cluster, py_erlport].

%% @doc What the shell prints under an error of ours (EEP 54). Each text is a binary: Elixir puts them behind others of its own,
%% and takes nothing else.
-spec format_error(term(), [tuple()]) -> #{general | pos_integer() => unicode:unicode_binary()}.
format_error(Reason, [{_Module, _Function, _Args, Info} | _]) ->
    Cause = maps:map(fun(_, Text) -> binary(Text) end, cause(Info)),
    case explanation(Reason) of
        <<>> -> Cause;
        %% The shell indents the first line only.
        Text -> Cause#{general => binary:replace(shortened(Text), <<"\n">>, <<"\n     ">>, [global])}
    end.

cause(Info) ->
    case is_list(Info) andalso lists:keyfind(error_info, 1, Info) of
        {error_info, #{cause := #{} = Cause}} -> Cause;
        _ -> #{}
    end.

%% Whoever prints an error must not get another one, whatever made the first.
explanation(Reason) ->
    try
        binary(text(Reason))
    catch
        error:_ -> binary(io_lib:format("~tP", [Reason, 20]))
    end.

%% The beginning of a long text, and its end, where Python says what it was.
shortened(Text) when byte_size(Text) =< ?MOST_SHOWN_BYTES -> Text;
shortened(Text) ->
    Half = ?MOST_SHOWN_BYTES div 2,
    Left = integer_to_binary(byte_size(Text) - 2 * Half),
    Last = binary:part(Text, byte_size(Text) - Half, Half),
    iolist_to_binary([whole(binary:part(Text, 0, Half)), "\n... ", Left, " bytes ...\n", from_character(Last)]).

whole(Text) ->
    case unicode:characters_to_binary(Text) of
        {incomplete, Whole, _} -> Whole;
        Whole -> Whole
    end.

%% UTF-8 goes on with bytes of the form 10xxxxxx.
from_character(<<2#10:2, _:6, Rest/binary>>) -> from_character(Rest);
from_character(Text) -> Text.

binary(Text) ->
    try unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> unicode:characters_to_binary(characters(Text))
    catch
        error:badarg -> unicode:characters_to_binary(characters(Text))
    end.

%% What a text has that is no character is shown as one that says so. (A `str' of Python's can have half of a surrogate pair.)
characters([First | Rest]) -> [characters(First) | characters(Rest)];
characters([]) -> [];
characters(C) when is_integer(C), C >= 0, C < 16#d800; is_integer(C), C > 16#dfff, C =< 16#10ffff -> C;
characters(Bytes) when is_binary(Bytes) ->
    case unicode:characters_to_list(Bytes) of
        List when is_list(List) -> List;
        _ -> binary_to_list(Bytes)
    end;
characters(_) -> 16#fffd.

%% @doc A failure for people: Python's traceback, or what was wrong and what to do. Whatever Python has sent as one is a text
%% here, and nothing that fails: processes ask that have others to look after.
-spec text(term()) -> unicode:chardata().
text(Error) -> printable(fun told/1, Error).

printable(Told, Error) ->
    try
        Text = Told(Error),
        case unicode:characters_to_binary(Text) of
            Binary when is_binary(Binary) -> Text;
            _ -> characters(Text)
        end
    catch
        error:_ -> io_lib:format("~tP", [Error, 20])
    end.

told({python, Class, Text, Trace}) when is_atom(Class), is_list(Trace) ->
    traceback(Class, Text, Trace);
told({erlang, Class, Reason, Stack}) when is_atom(Class), is_list(Stack) ->
    io_lib:format("an Erlang function that Python called raised ~tp: ~tP", [Class, Reason, 20]);
told({py, Reason}) ->
    reason(Reason);
told(_) ->
    "".

traceback(Class, Text, Trace) ->
    Frames = [Frame || {_, _, _, _} = Frame <- Trace, element(1, Frame) =/= cause],
    [
        [io_lib:format("In item ~w of the list:~n", [Index]) || {item, Index} <- Trace],
        [[traceback(C, T, F), "\n\nThat led to:\n\n"] || {cause, C, T, F} <- Trace],
        ["Traceback (most recent call last):\n" || Frames =/= []],
        [frame(Frame) || Frame <- lists:reverse(Frames)],
        atom_to_list(Class),
        [[": ", characters(Text)] || Text =/= "", Text =/= <<>>]
    ].

frame({File, Line, Function, Source}) ->
    [
        io_lib:format("  File \"~ts\", line ~w, in ~ts~n", [characters(File), Line, characters(Function)]),
        ["    " ++ characters(Source) ++ "\n" || Source =/= "", Source =/= <<>>]
    ].

reason(timeout) -> "the call did not end within its timeout";
reason(not_started) -> "the application py is not running, or not yet; py:start() starts it";
reason({no_directory, Path}) ->
    io_lib:format(
        "there is no place for the application's directory: in /dev/shm, TMPDIR and ~ts nothing can be written, or others can "
        "put something else in its place (a directory that all may write in must be sticky)", [Path]);
reason(overload) -> "all workers of the pool have as many calls waiting as its max_queue allows";
reason({nested, Most}) ->
    io_lib:format(
        "~w calls of this worker wait for Erlang inside each other, and the innermost for this one, which would have to be inside "
        "them, too. Not more than 64 may, fewer where Python has recursed deep, and none in the middle of an import; call another "
        "worker or pool from a function that Python calls", [Most]
    );
reason({scheduler, Term}) -> io_lib:format("the pool's scheduler chose no worker of it: ~tP", [Term, 20]);
reason({last_worker, Pool}) -> io_lib:format("it is the last worker of pool ~tp; py:stop_pool/1 stops the pool", [Pool]);
reason({too_many_workers, Most}) -> io_lib:format("a pool has ~w workers at most", [Most]);
reason({unknown_pool, Name}) -> io_lib:format("there is no pool ~tp; py:status() shows those that there are", [Name]);
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
configured(py) -> "the application";
configured(Pool) -> io_lib:format("pool ~tp", [Pool]).

down({exit_status, Status, Lines}) -> io_lib:format("exit status ~w~ts", [Status, said(Lines)]);
down({signal, Signal, Lines}) -> io_lib:format("signal ~w~ts~ts", [Signal, signal(Signal), said(Lines)]);
down({memory, Bytes}) ->
    io_lib:format("it had ~w bytes of memory, too many for max_memory, and was killed", [Bytes]);
down({deadline, killed}) -> "it was killed after a call outlived its deadline";
down({protocol, Head}) -> io_lib:format("it broke the protocol with ~tP and was killed", [Head, 20]);
down({flooded, Bytes}) ->
    io_lib:format("it sent faster than what it sends can be dealt with (~w bytes waited) and was killed", [Bytes]);
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
start_text(Reason) -> printable(fun start_told/1, Reason).

start_told({start, Reason}) ->
    start_text(Reason);
start_told({no_python, Source, Path}) ->
    io_lib:format("no executable ~ts (~ts)", [Path, source_text(Source)]);
start_told({no_directory, Path}) ->
    io_lib:format("the pool's cd option names no directory: ~ts", [Path]);
start_told({sandbox, Reason}) ->
    py_sandbox:text(Reason);
start_told({open_port, Path, Reason}) ->
    io_lib:format("can't start ~ts: ~tp", [Path, Reason]);
start_told({failed, Python, ""}) ->
    io_lib:format("~ts ended before it answered, and said nothing", [Python]);
start_told({failed, Python, Text}) ->
    io_lib:format("~ts did not start:~n~ts", [Python, Text]);
start_told({no_answer, Python, Timeout}) ->
    io_lib:format("~ts did not answer within its start_timeout of ~w ms", [Python, Timeout]);
start_told({configure, Error}) ->
    ["its Python refused the configuration: ", text(from_python(Error))];
start_told({on_start, Error}) ->
    ["on_start failed:\n", text(from_python(Error))];
start_told(Reason) ->
    io_lib:format("~tP", [Reason, 20]).

%% @doc Where the name of an interpreter came from.
-spec source_text(atom()) -> string().
source_text(python_option) -> "from the pool's python option";
source_text('PY_PYTHON') -> "from PY_PYTHON";
source_text('VIRTUAL_ENV') -> "from VIRTUAL_ENV";
source_text(checkout) -> "the checkout's virtual environment; `make setup' makes it anew";
source_text(path) -> "looked for on PATH; set PY_PYTHON or the pool's python option".
