%%% @doc Sessions: a Python namespace that stays from call to call, in an interpreter of its own.
%%%
%%% ```
%%% S = py_session:open(),
%%% py_session:define(S, a, 100),
%%% py_session:exec(S, "def mult(x, y): return x * y"),
%%% 200 = py_session:eval(py_session:define(S, b, 2), "mult(a, b)").
%%% '''
%%%
%%% Every function but {@link eval/2} and {@link status/1} returns the session, so that calls chain. What is defined and
%%% executed is sent with the next `eval' or `sync', in order.
%%%
%%% The calls of Python are made in the caller's process, in turns ({@link py_session_turn}): so the caller decodes its own value, and
%%% what is printed appears where the caller prints. The session's process, {@link py_session_server}, gives the turns.
-module(py_session).

-export([open/0, open/1, own/0, own/1, timeout/2, init/2, define/3, exec/2, eval/2, eval/3, sync/1, close/1]).
-export([interrupt/1, fork/1, status/1, list/0]).
-export_type([session/0, source/0]).

-opaque session() :: {'$py.session', pid()}.
-type source() :: unicode:chardata().
%% Python source; indented as a whole, it is taken as if it were not.

%% In the dictionary of a process: its own session.
-define(OWN, '$py_session').

%%% Opening and closing

%% @doc Open a session with the application's options.
-spec open() -> session().
open() -> opened([], open).

%% @doc Open a session: `persistent', `timeout', `owner', `binaries', and the options of a pool that are about one
%% interpreter. It is closed when its owner ends, the calling process where no other is named.
-spec open(py_session_options:options()) -> session().
open(Options) -> opened([Options], open).

%% @doc The session of the calling process, which is opened where there is none, and stays open until that process ends.
-spec own() -> session().
own() -> own_of([]).

%% @doc The same; the options are those of a session that is opened now. A session that is there already must have what they
%% say of its sandbox.
-spec own(py_session_options:options()) -> session().
own(Options) -> own_of([Options]).

own_of(Args) ->
    case get(?OWN) of
        {'$py.session', Pid} = Session ->
            case is_process_alive(Pid) of
                true -> as_boxed(Session, Args);
                false -> own_opened(Args)
            end;
        undefined ->
            own_opened(Args)
    end.

%% Who asks for a box does not get a session that is in none, or in another.
as_boxed(Session, []) ->
    Session;
as_boxed({'$py.session', Pid} = Session, [Options] = Args) ->
    Api = {?MODULE, own, lists:map(fun py_pool_options:without_secrets/1, Args)},
    case py_session_options:check(Options) of
        {ok, _, Wanted} ->
            case py_session_server:ask(Pid, copy) of
                #{config := Config} ->
                    py_session_options:box(Options, Config) =:= py_session_options:box(Options, Wanted) orelse
                        py_error:badarg(1, "the process has a session of its own already, with other options of a sandbox: "
                            "close it first, or open another one", Api),
                    Session;
                {error, _} ->
                    own_opened(Args)
            end;
        {error, Problem} ->
            py_error:badarg(1, py_options:describe(Problem), Api)
    end.

own_opened(Args) ->
    Session = opened(Args, own),
    put(?OWN, Session),
    Session.

opened(Args, Function) ->
    Api = {?MODULE, Function, lists:map(fun py_pool_options:without_secrets/1, Args)},
    Options =
        case Args of
            [] -> #{};
            [Given] -> Given
        end,
    case py_session_options:check(Options) of
        {ok, Checked, Config} when Function =:= own ->
            started(#{options => Checked#{persistent := true, owner := self()}, config => Config}, Api);
        {ok, Checked, Config} ->
            started(#{options => Checked, config => Config}, Api);
        {error, Problem} ->
            py_error:badarg(1, py_options:describe(Problem), Api)
    end.

started(Argument, Api) ->
    case py_session_sup:start_session(Argument) of
        {ok, Pid} ->
            case py_session_server:ask(Pid, ready) of
                ok -> {'$py.session', Pid};
                {error, Reason} -> py_error:raise({py, Reason}, Api)
            end;
        {error, Reason} ->
            py_error:raise({py, Reason}, Api)
    end.

%% @doc Close a session, and end what runs in it. One that is closed is no error.
-spec close(session()) -> session().
close(Session) ->
    _ = py_session_server:ask(process(Session, {?MODULE, close, [Session]}), close),
    Session.

%% @doc Interrupt what runs in a session, as a key would in a terminal: `KeyboardInterrupt' is raised in it, which it may catch; its names stay. Where
%% nothing runs, nothing happens. Any process may do this.
-spec interrupt(session()) -> ok.
interrupt(Session) ->
    Api = {?MODULE, interrupt, [Session]},
    case py_session_server:ask(process(Session, Api), interrupt) of
        ok -> ok;
        {error, Reason} -> py_error:raise({py, Reason}, Api)
    end.

%%% What a session is given

%% @doc The longest time that an `eval' or a `sync' may take, the wait for others' included: milliseconds or `infinity'.
-spec timeout(session(), timeout()) -> session().
timeout(Session, Timeout) ->
    Api = {?MODULE, timeout, [Session, Timeout]},
    Pid = process(Session, Api),
    case py_session_options:call(#{timeout => Timeout}) of
        {ok, _} -> told(Pid, {timeout, Timeout}, Session, Api);
        {error, Problem} -> py_error:badarg(2, py_options:describe(Problem), Api)
    end.

%% @doc A function of the session that runs once, before anything else is sent, and again in each new interpreter. It runs
%% in the process whose `eval' or `sync' needs it.
-spec init(session(), py_session_server:init_fun()) -> session().
init(Session, Fun) ->
    Api = {?MODULE, init, [Session, Fun]},
    Pid = process(Session, Api),
    is_function(Fun, 1) orelse py_error:badarg(2, "must be a function of the session", Api),
    told(Pid, {init, Fun}, Session, Api).

%% @doc Let a name stand for a value.
-spec define(session(), atom() | source(), term()) -> session().
define(Session, Name, Value) ->
    Api = {?MODULE, define, [Session, Name, Value]},
    Pid = process(Session, Api),
    told(Pid, {add, {define, name(Name, Api), Value}}, Session, Api).

%% @doc Run statements.
-spec exec(session(), source()) -> session().
exec(Session, Source) ->
    Api = {?MODULE, exec, [Session, Source]},
    Pid = process(Session, Api),
    told(Pid, {add, {exec, source(Source, Api)}}, Session, Api).

told(Pid, Request, Session, Api) ->
    case py_session_server:ask(Pid, Request) of
        ok -> Session;
        {error, Reason} -> py_error:raise({py, Reason}, Api)
    end.

%%% Turns

%% @doc The value of an expression, or of the last line of a block of statements where that is one (`undefined' where it
%% is not). Closes a session that is not persistent.
-spec eval(session(), source()) -> term().
eval(Session, Source) -> evaluated(Session, Source, #{}, {?MODULE, eval, [Session, Source]}).

%% @doc The same with options: `timeout' in place of the session's, `return', and the mapping options of a call. With `return => display' what a
%% notebook shows of the value: a map of `text', `html', `svg' and `png', binaries, as far as it has them.
-spec eval(session(), source(), py_session_options:call_options()) -> term().
eval(Session, Source, Options) -> evaluated(Session, Source, Options, {?MODULE, eval, [Session, Source, Options]}).

evaluated(Session, Source, Options, Api) ->
    Pid = process(Session, Api),
    Block = {eval, source(Source, Api)},
    case py_session_options:call(Options) of
        {ok, Checked} ->
            is_shared_in_a_box(Checked, Pid) andalso
                py_error:badarg(3, "option arrays must be opaque or value in a sandbox, which has no part in shared memory", Api),
            py_session_turn:take(Session, Pid, Checked, Api, fun(Turn) ->
                Result = py_session_turn:run([Block], Checked, Turn),
                case maps:get(persistent, Turn) orelse maps:get(nested, Turn) of
                    true -> {Result, done};
                    false -> {readable(Result, Turn), closed}
                end
            end);
        {error, Problem} ->
            py_error:badarg(3, py_options:describe(Problem), Api)
    end.

%% No other Python reads what one in a box has pickled, and this one is about to end.
readable({ok, Value} = Result, #{boxed := true}) ->
    case py_term:has_pickle(Value) of
        false ->
            Result;
        true ->
            {error, {py, {encode,
                "the value has an object that is a pickle, which only the Python of this sandbox could read, and that ends with "
                "the value: make a value of it (a list, a dict, its str), or open the session with persistent => true"}}}
    end;
readable(Result, _Turn) ->
    Result.

is_shared_in_a_box(#{arrays := shared}, Pid) ->
    case py_session_server:ask(Pid, copy) of
        #{config := #{sandbox := Kind}} -> Kind =/= none;
        {error, _} -> false
    end;
is_shared_in_a_box(_, _Pid) ->
    false.

%% @doc Send what was defined and executed, and wait for its end.
-spec sync(session()) -> session().
sync(Session) ->
    Api = {?MODULE, sync, [Session]},
    Pid = process(Session, Api),
    _ = py_session_turn:take(Session, Pid, #{}, Api, fun(Turn) -> {py_session_turn:run([], #{}, Turn), done} end),
    Session.

%% @doc A copy of a session, of the calling process, with the options of the first one: what has been defined so far, as far
%% as it pickles. `status/1' of the copy says what does not (`not_copied').
-spec fork(session()) -> session().
fork(Session) ->
    Api = {?MODULE, fork, [Session]},
    Pid = process(Session, Api),
    {Snapshot, Left} = py_session_turn:take(Session, Pid, #{}, Api, fun(Turn) ->
        {
            case py_session_turn:run([], #{}, Turn) of
                {ok, _} -> py_session_turn:snapshot(Turn);
                Failed -> Failed
            end,
            done
        }
    end),
    case py_session_server:ask(Pid, copy) of
        #{options := Options} = Copied ->
            Argument = Copied#{options := Options#{owner := self()}, snapshot => py_secret:hide(Snapshot), not_copied => Left},
            filled(started(Argument, Api), Api);
        {error, Reason} ->
            py_error:raise({py, Reason}, Api)
    end.

%% What can't be read there is told now.
filled({'$py.session', Pid} = Copy, Api) ->
    try py_session_turn:take(Copy, Pid, #{}, Api, fun(Turn) -> {py_session_turn:run([], #{}, Turn), done} end) of
        _ -> Copy
    catch
        Class:Reason:Stack ->
            _ = py_session_server:ask(Pid, close),
            erlang:raise(Class, Reason, Stack)
    end.

%%% Looking

%% @doc What a session is doing: `state' is `idle', `busy' or `closed'; of a closed one there is no more to say.
-spec status(session()) -> py_session_server:status().
status(Session) ->
    case py_session_server:ask(process(Session, {?MODULE, status, [Session]}), status) of
        {error, _} -> #{session => Session, state => closed};
        Status -> Status
    end.

%% @doc The {@link status/1} of all open sessions of this node, the oldest first.
-spec list() -> [py_session_server:status()].
list() ->
    Open = [Status || Pid <- py_session_sup:sessions(), #{age_ms := _} = Status <- [py_session_server:ask(Pid, status)]],
    lists:sort(fun(#{age_ms := A}, #{age_ms := B}) -> A >= B end, Open).

%%% Arguments

process({'$py.session', Pid}, _Api) when is_pid(Pid) -> Pid;
process(_, Api) -> py_error:badarg(1, "must be a session, from py_session:open or own", Api).

source(Source, Api) -> text(Source, 2, "must be Python source, a string or a binary", Api).

text(Text, Position, Expected, Api) when is_list(Text); is_binary(Text) ->
    try unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> py_error:badarg(Position, Expected, Api)
    catch
        error:badarg -> py_error:badarg(Position, Expected, Api)
    end;
text(_, Position, Expected, Api) ->
    py_error:badarg(Position, Expected, Api).

name(Name, Api) when is_atom(Name) -> identifier(atom_to_binary(Name), Api);
name(Name, Api) -> identifier(text(Name, 2, "must be a name: an atom, a string or a binary", Api), Api).

%% Letters beyond ASCII are Python's to judge.
identifier(Name, Api) ->
    case re:run(Name, "^[A-Za-z_\\x80-\\xff][A-Za-z0-9_\\x80-\\xff-]*$", [{capture, none}]) of
        match -> Name;
        nomatch -> py_error:badarg(2, "must be the name of a Python variable", Api)
    end.
