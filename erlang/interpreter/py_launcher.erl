%%% @doc How an interpreter is found and started. Knows ports and paths, not what is said over them.
%%%
%%% The interpreter of a pool is the first of these that is given, and only that one: a broken choice is an error, never a
%%% reason to try the next.
%%%
%%% <ol>
%%% <li>the pool's `python' option</li>
%%% <li>the environment variable `PY_PYTHON': a path or a name on `PATH'</li>
%%% <li>the environment variable `VIRTUAL_ENV': a directory</li>
%%% <li>`python/' of the release that the application is in</li>
%%% <li>`python/.venv' of the checkout that the application runs from</li>
%%% <li>`python3' on `PATH'</li>
%%% </ol>
%%%
%%% Python's protocol descriptors are 3 and 4, so nothing that is printed while an interpreter starts reaches the wire.
%%% @private
-module(py_launcher).

-export([find/1, priv_dir/0, package_dir/0, open/3, open_zygote/3, open_program/4, arguments/1, kill/1, kill_group/1, interrupt/2]).
-export([interrupt_by_hand/1]).
-export([identity/1, resident_bytes/1, own_bytes/1, private_bytes/1, end_group/1, diagnose/2, ask/3]).
-export_type([source/0, reason/0]).

-type source() :: python_option | 'PY_PYTHON' | 'VIRTUAL_ENV' | release | checkout | path.
%% Where an interpreter's name came from.
-type reason() ::
    {no_python, source(), Path :: string()}
    | {no_directory, Path :: string()}
    | {sandbox, py_sandbox:reason()}
    | {open_port, Path :: string(), file:posix() | badarg | system_limit}.

%% The signal of an interruption, the first of `erl.runtime.signals': a real-time one on Linux, where nobody's defaults are about it.
-define(INTERRUPTION, 50).
%% Elsewhere, by its name: the number differs.
-define(INTERRUPTION_ELSEWHERE, "USR1").
-define(INT, 2).
%% Lines of a zygote.
-define(LINE_BYTES, 256).
%% How long a killed process may take to be gone.
-define(ENDED_MS, 1_000).
-define(BOOTSTRAP(Path),
    "import sys\n"
    "if sys.version_info < (3, 10):\n"
    "    sys.exit('py needs Python 3.10 or later; ' + sys.executable + ' is ' + sys.version.split()[0])\n"
    Path
    "from erl.__main__ import main\n"
    "main()\n"
).
-define(APPENDED, "sys.path.append(sys.argv.pop(1))\n").
%% The directory of an installed package holds all others of that Python: they are no part of an interpreter that has `erl' itself.
-define(APPENDED_WHERE_NEEDED,
    "path = [sys.argv.pop(1)]\n"
    "try:\n"
    "    import erl\n"
    "    path = [] if erl.__file__ else path\n"
    "except ImportError:\n"
    "    pass\n"
    "if path:\n"
    "    sys.modules.pop('erl', None)\n"
    "    sys.path += path\n"
    "del path\n"
).

%% @doc The interpreter that a pool's options ask for.
-spec find(py_config:pool()) -> {ok, source(), file:filename_all()} | {error, reason()}.
%% The image brings its own.
find(#{sandbox := docker, python := Python}) -> {ok, python_option, if Python =:= undefined -> "python3"; true -> Python end};
find(#{python := {venv, Directory}}) -> executable(python_option, in_venv(Directory));
find(#{python := Python}) when Python =/= undefined -> executable(python_option, Python);
find(_) ->
    case {variable("PY_PYTHON"), variable("VIRTUAL_ENV")} of
        {false, false} -> find_unasked();
        {false, Directory} -> executable('VIRTUAL_ENV', in_venv(Directory));
        {Python, _} -> executable('PY_PYTHON', Python)
    end.

find_unasked() ->
    Venv = filename:join([checkout(), "python", ".venv"]),
    case [Python || Python <- in_release(), filelib:is_regular(Python)] of
        [Python | _] ->
            executable(release, Python);
        [] ->
            case filelib:is_dir(Venv) of
                true -> executable(checkout, in_venv(Venv));
                false -> executable(path, "python3")
            end
    end.

%% What `scripts/release-python' puts there. The variables are those of mix's and of relx's start scripts; a release that has its own
%% run-time system is around it.
in_release() ->
    Roots = [Root || Name <- ["RELEASE_ROOT", "RELEASE_ROOT_DIR"], Root <- [variable(Name)], Root =/= false],
    [in_venv(filename:join(Root, "python")) || Root <- Roots ++ [code:root_dir()]].

%% rebar3 links the checkout's `priv' into `_build'. Python looks for `pyvenv.cfg' along the name that it is started
%% by, so that name must not lead through the link.
checkout() ->
    Priv = priv_dir(),
    case file:read_link_all(Priv) of
        {ok, Target} -> filename:dirname(filename:absname(Target, filename:dirname(Priv)));
        {error, _} -> filename:dirname(Priv)
    end.

%% An empty variable counts as unset, as in a shell's `${X:-}'.
variable(Name) ->
    case os:getenv(Name) of
        "" -> false;
        Value -> Value
    end.

in_venv(Directory) -> filename:join([Directory, "bin", "python"]).

%% As a shell has it: a name with a slash is a path, any other is looked for on PATH.
executable(Source, Name) ->
    Asked = to_string(Name),
    Found =
        case lists:member($/, Asked) of
            true -> os:find_executable(filename:absname(Asked));
            false -> os:find_executable(Asked)
        end,
    case Found of
        false -> {error, {no_python, Source, Asked}};
        Path -> {ok, Source, Path}
    end.

to_string(Name) when is_binary(Name) -> unicode:characters_to_list(Name);
to_string(Name) -> Name.

%% @doc The application's `priv', absolute: `code:priv_dir/1' can be relative, and knows no directory of another name than
%% the application's.
-spec priv_dir() -> file:filename().
priv_dir() ->
    case code:priv_dir(py) of
        {error, bad_name} ->
            Ebin = filename:dirname(filename:absname(code:which(?MODULE))),
            filename:join(filename:dirname(Ebin), "priv");
        Directory ->
            filename:absname(Directory)
    end.

%% @doc Where the package `erl' lies: in `priv', or, where the application is part of that package (`erl/otp/ebin'), around it.
-spec package_dir() -> file:filename().
package_dir() ->
    Own = filename:join(priv_dir(), "python"),
    case filelib:is_dir(filename:join(Own, "erl")) of
        true -> Own;
        false -> lists:foldl(fun(_, Path) -> filename:dirname(Path) end, priv_dir(), ["priv", "otp", "erl"])
    end.

%% @doc Start the interpreter; the calling process owns the port. Messages of the port: `{Port, {data, Bytes}}',
%% `{Port, eof}', `{Port, {exit_status, Status}}'.
%%
%% The port's busy limits are off: a write never suspends the owner, what Python has not read yet waits in the port.
%%
%% `Stderr' is the socket that a sandboxed one is to have for its standard error; `Box' what is kept of its sandbox.
-spec open(py_config:pool(), file:filename_all(), Stderr :: file:filename_all() | undefined) ->
    {ok, port(), OsPid :: non_neg_integer(), Box :: undefined | py_sandbox:box()} | {error, reason()}.
open(#{env := Env} = Config, Python, Stderr) -> open_in(Config#{env := py_secret:reveal(Env)}, Python, Stderr).

open_in(#{sandbox := none, cd := Cd} = Config, Python, _Stderr) ->
    case Cd =:= undefined orelse filelib:is_dir(Cd) of
        true -> opened(open_interpreter(Config, Python), undefined);
        false -> {error, {no_directory, to_string(Cd)}}
    end;
open_in(Config, Python, Stderr) ->
    case py_sandbox:command(Config, Python, Stderr, own(Config, flags(Config))) of
        {ok, #{program := Program, args := Args, env := Env, stdio := Stdio}, Box} ->
            Outside = #{env => Env, cd => undefined, python_path => []},
            opened(open_program(Program, Args, [stream, Stdio, eof], Outside), Box);
        {error, _} = Error ->
            Error
    end.

opened({ok, Port, OsPid}, Box) -> {ok, Port, OsPid, Box};
opened({error, _} = Error, _Box) -> Error.

%% Where there is a zygote, the program is a stub that has the interpreter forked, or becomes it itself.
open_interpreter(#{zygote := Socket} = Config, Python) ->
    Stub = filename:join([package_dir(), "erl", "runtime", "stub.py"]),
    open_program(Python, ["-s", "-S", Stub, Socket, Python | arguments(flags(Config))], [stream, nouse_stdio, eof], Config);
open_interpreter(Config, Python) ->
    open_program(Python, arguments(flags(Config)), [stream, nouse_stdio, eof], Config).

%% @doc Start a zygote that listens at this socket; the calling process owns the port, whose messages are lines.
-spec open_zygote(py_config:pool(), file:filename_all(), Socket :: file:filename()) ->
    {ok, port(), OsPid :: non_neg_integer()} | {error, reason()}.
open_zygote(#{env := Env, cd := Cd, preload := Modules} = Config, Python, Socket) ->
    case Cd =:= undefined orelse filelib:is_dir(Cd) of
        true ->
            Arguments = arguments(["--zygote=" ++ Socket | [py_term:module(Module) || Module <- Modules]]),
            open_program(Python, Arguments, [{line, ?LINE_BYTES}, nouse_stdio], Config#{env := py_secret:reveal(Env)});
        false ->
            {error, {no_directory, to_string(Cd)}}
    end.

%% A container passes no other descriptors on.
flags(#{sandbox := docker}) -> ["--packet=4", "--use_stdio", "--py"];
%% Of memory that is limited none is to lie idle in a second heap.
flags(#{max_memory := Most}) when is_integer(Most) -> ["--packet=4", "--nouse_stdio", "--py", "--one-heap"];
flags(_) -> ["--packet=4", "--nouse_stdio", "--py"].

%% What a sandbox needs to know of the Python half.
own(Config, Flags) ->
    #{
        package => package_dir(),
        arguments => fun(Directory) -> arguments(Directory, Flags) end,
        flags => Flags,
        filter => filter(Config),
        run => py_directory:run(),
        is_over => fun py_directory:is_over/2
    }.

%% The file of what a box may not ask of the kernel. One that can't be written keeps the box from starting.
filter(#{sandbox := bwrap}) ->
    case py_seccomp:filter(erlang:system_info(system_architecture)) of
        {ok, Bytes} -> filter_file(Bytes);
        none -> undefined
    end;
filter(_Config) ->
    undefined.

filter_file(Bytes) ->
    try py_directory:path("seccomp") of
        Path ->
            filelib:is_regular(Path) orelse whole(Path, Bytes),
            Path
    catch
        %% The application is not started: somebody asks what a start would say.
        error:badarg -> undefined
    end.

%% Others may be reading it.
whole(Path, Bytes) ->
    New = Path ++ "." ++ integer_to_list(erlang:unique_integer([positive])),
    ok =:= file:write_file(New, Bytes) andalso file:rename(New, Path).

%% @doc Start an interpreter with these arguments and these options of the port.
-spec open_program(file:filename_all(), [file:filename_all()], Options :: [term()], py_config:pool()) ->
    {ok, port(), OsPid :: non_neg_integer()} | {error, reason()}.
open_program(Python, Arguments, PortOptions, Config) ->
    Options = [{args, Arguments}, {busy_limits_port, disabled}, {busy_limits_msgq, disabled} | PortOptions],
    try open_port({spawn_executable, Python}, Options ++ common_options(Config)) of
        Port ->
            case erlang:port_info(Port, os_pid) of
                {os_pid, OsPid} -> {ok, Port, OsPid};
                %% It has gone already; the exit status says how.
                undefined -> {ok, Port, 0}
            end
    catch
        error:Reason -> {error, {open_port, to_string(Python), Reason}}
    end.

%% @doc The interpreter's arguments that start the server with these flags.
-spec arguments([string()]) -> [file:filename_all()].
arguments(Flags) ->
    Directory = package_dir(),
    case is_installed(Directory) of
        true -> ["-c", ?BOOTSTRAP(?APPENDED_WHERE_NEEDED), Directory | Flags];
        false -> arguments(Directory, Flags)
    end.

arguments(Directory, Flags) -> ["-c", ?BOOTSTRAP(?APPENDED), Directory | Flags].

%% Whether other packages lie there, too: the application is part of the package `erl'.
is_installed(Directory) -> Directory =/= filename:join(priv_dir(), "python").

common_options(#{env := Env, cd := Cd, python_path := Paths}) ->
    [
        {env, [native(Variable) || Variable <- python_path(Paths, Env)]},
        binary,
        exit_status,
        hide
        | [{cd, Cd} || Cd =/= undefined]
    ].

%% The pool's directories come before those of the environment, as the pool is the nearer choice.
python_path([], Env) ->
    Env;
python_path(Paths, Env) ->
    Inherited =
        case lists:keyfind("PYTHONPATH", 1, Env) of
            {_, Value} -> Value;
            false -> os:getenv("PYTHONPATH")
        end,
    Directories = [to_string(filename:absname(Path)) || Path <- Paths] ++ [Inherited || is_list(Inherited)],
    lists:keystore("PYTHONPATH", 1, Env, {"PYTHONPATH", lists:append(lists:join(":", Directories))}).

%% Under a locale that is not UTF-8 a port takes bytes; Python reads its environment as UTF-8 there, too (PEP 540).
native({Name, Value}) ->
    case file:native_name_encoding() of
        utf8 -> {Name, Value};
        latin1 -> {utf8_bytes(Name), utf8_bytes(Value)}
    end.

utf8_bytes(false) -> false;
utf8_bytes(Text) -> binary_to_list(unicode:characters_to_binary(Text)).

%% @doc End an interpreter for certain, and what it has forked: a port's program leads a process group of its own. Its
%% exit status still arrives at the port's owner.
-spec kill(OsPid :: non_neg_integer()) -> ok.
kill(OsPid) -> signal("kill -s KILL -- -$1 2>/dev/null || kill -s KILL $1", OsPid).

%% @doc End what an interpreter that has ended has forked and left.
-spec kill_group(OsPid :: non_neg_integer()) -> ok.
kill_group(OsPid) -> signal("kill -s KILL -- -$1 2>/dev/null", OsPid).

%% @doc End a process that leads a group, for certain: it runs no more when this returns.
-spec end_group(OsPid :: non_neg_integer()) -> ok.
end_group(OsPid) ->
    kill_group(OsPid),
    await_end(OsPid, erlang:monotonic_time(millisecond) + ?ENDED_MS).

await_end(OsPid, Until) ->
    case is_binary(identity(OsPid)) andalso erlang:monotonic_time(millisecond) < Until of
        true -> receive after 1 -> await_end(OsPid, Until) end;
        false -> ok
    end.

%% @doc Raise a signal in an interpreter, the one that it has asked for; returns before it is there. One that has no handler for it
%% any more would end: it is not raised there.
-spec interrupt(OsPid :: non_neg_integer(), Signal :: 1..64 | undefined) -> ok.
interrupt(OsPid, Asked) ->
    Signal =
        case {Asked, os:type()} of
            {undefined, {unix, linux}} -> ?INTERRUPTION;
            _ -> Asked
        end,
    _ = spawn(fun() -> is_caught(Signal, OsPid) andalso signal(raising(Signal), OsPid) end),
    ok.

is_caught(undefined, _OsPid) -> true;
is_caught(Signal, OsPid) -> catches(1 bsl (Signal - 1), OsPid).

%% The shell looks again: user code may have changed it in the milliseconds that a shell takes to start. Half of the mask is a number
%% that any shell can read.
raising(undefined) ->
    "kill -s " ?INTERRUPTION_ELSEWHERE " $1 2>/dev/null";
raising(Signal) ->
    Half = if Signal > 32 -> "${mask%????????}"; true -> "${mask#????????}" end,
    lists:flatten(io_lib:format(
        "while read -r name mask; do\n"
        "    if [ \"$name\" = SigCgt: ] && [ $((0x~s >> ~b & 1)) = 1 ]; then kill -s ~b $1; fi\n"
        "done 2>/dev/null </proc/$1/status",
        [Half, (Signal - 1) rem 32, Signal]
    )).

%% @doc The same with SIGINT, as somebody at a terminal would; it is there when this returns.
-spec interrupt_by_hand(OsPid :: non_neg_integer() | undefined) -> ok.
interrupt_by_hand(undefined) -> ok;
interrupt_by_hand(OsPid) ->
    _ = is_caught(?INT, OsPid) andalso signal("kill -s INT $1 2>/dev/null", OsPid),
    ok.

%% proc(5): "SigCgt: 0000000180000200", a bit for each signal that is caught, that of signal 1 the lowest. Where the system does
%% not say so, nobody knows better.
catches(Bit, OsPid) ->
    case file:read_file(["/proc/", integer_to_list(OsPid), "/status"]) of
        {ok, Text} ->
            case re:run(Text, "^SigCgt:\\s*([0-9a-fA-F]+)", [multiline, {capture, all_but_first, binary}]) of
                {match, [Mask]} -> binary_to_integer(Mask, 16) band Bit =/= 0;
                nomatch -> true
            end;
        {error, Reason} ->
            Reason =/= enoent orelse not filelib:is_file("/proc/self/status")
    end.

%% The shell's own `kill': the program is no part of a small system.
signal(_Script, 0) ->
    ok;
signal(Script, OsPid) ->
    _ = py_program:run("/bin/sh", [{args, ["-c", Script, "kill", integer_to_list(OsPid)]}], 5_000),
    ok.

%% @doc What tells a process from a later one that has its number; `gone' where there is none, `unknown' where the system does not
%% say.
-spec identity(OsPid :: non_neg_integer()) -> binary() | gone | unknown.
identity(0) ->
    unknown;
identity(OsPid) ->
    case file:read_file(["/proc/", integer_to_list(OsPid), "/stat"]) of
        {ok, Text} -> started(Text);
        {error, Reason} when Reason =:= enoent; Reason =:= esrch -> gone;
        {error, _} -> unknown
    end.

%% proc(5): the name in parentheses may be anything; 3 is the state, 22 when it was started.
started(Text) ->
    case string:split(string:trim(Text), ") ", trailing) of
        [_, <<State, _/binary>>] when State =:= $Z; State =:= $X -> gone;
        [_, Rest] -> lists:nth(20, binary:split(Rest, <<" ">>, [global]));
        _ -> unknown
    end.

%% @doc How much memory a process has in use, in bytes, that of libraries and of mapped files among it; `undefined' where the
%% system does not tell.
-spec resident_bytes(OsPid :: non_neg_integer() | undefined) -> non_neg_integer() | undefined.
resident_bytes(OsPid) ->
    case pages(OsPid) of
        {Resident, _Shared} -> Resident * page_bytes();
        undefined -> undefined
    end.

%% @doc How much of that is its own: what it shares with files, as large arrays may be, is not given back by its end.
-spec own_bytes(OsPid :: non_neg_integer() | undefined) -> non_neg_integer() | undefined.
own_bytes(OsPid) ->
    case pages(OsPid) of
        {Resident, Shared} -> max(0, Resident - Shared) * page_bytes();
        undefined -> undefined
    end.

%% @doc How much memory a process shares with no other, in bytes: of one that was forked, what its end gives back.
-spec private_bytes(OsPid :: non_neg_integer()) -> non_neg_integer() | undefined.
private_bytes(OsPid) ->
    %% proc(5): "Private_Clean:  12 kB", "Private_Dirty:  1284 kB".
    case file:read_file(["/proc/", integer_to_list(OsPid), "/smaps_rollup"]) of
        {ok, Text} ->
            {match, Found} = re:run(Text, "^Private_(?:Clean|Dirty):\\s+([0-9]+)", [multiline, global, {capture, all_but_first, binary}]),
            lists:sum([binary_to_integer(Kb) || [Kb] <- Found]) * 1024;
        {error, _} ->
            own_bytes(OsPid)
    end.

pages(undefined) ->
    undefined;
pages(OsPid) ->
    %% proc(5): size, resident, shared .. in pages; resident holds what is shared with files.
    case file:read_file(["/proc/", integer_to_list(OsPid), "/statm"]) of
        {ok, Text} ->
            [_Size, Resident, Shared | _] = string:split(Text, " ", all),
            {binary_to_integer(Resident), binary_to_integer(Shared)};
        {error, _} ->
            undefined
    end.

page_bytes() ->
    case persistent_term:get({?MODULE, page_bytes}, undefined) of
        undefined ->
            Bytes = list_to_integer(string:trim(os:cmd("getconf PAGESIZE 2>/dev/null || echo 4096"))),
            persistent_term:put({?MODULE, page_bytes}, Bytes),
            Bytes;
        Bytes ->
            Bytes
    end.

%% @doc What an interpreter that failed to start says for itself: run once more, without a protocol, for the text.
-spec diagnose(py_config:pool(), file:filename_all()) -> string().
diagnose(Config, Python) -> ask(Config, Python, "--check").

%% @doc What an interpreter says that is started, as a pool's would be, with this flag alone.
-spec ask(py_config:pool(), file:filename_all(), Flag :: string()) -> string().
ask(#{env := Env} = Config, Python, Flag) -> asked(Config#{env := py_secret:reveal(Env)}, Python, Flag).

asked(#{sandbox := Kind} = Config, Python, Flag) when Kind =/= none ->
    case py_sandbox:diagnosis(Config, Python, own(Config, [Flag])) of
        {ok, #{program := Program, args := Args, env := Env}} ->
            %% What a box says commands no terminal, whatever was put into it.
            Said = said(Program, [{args, Args}, {env, [native(Variable) || Variable <- Env]}]),
            unicode:characters_to_list(py_guard:visible(unicode:characters_to_binary(Said)));
        {error, {sandbox, Reason}} ->
            lists:flatten(unicode:characters_to_list(py_reason:sandbox_text(Reason)))
    end;
asked(Config, Python, Flag) ->
    said(Python, [{args, arguments([Flag])} | common_options(Config)]).

said(Program, Options) ->
    {_, Output} = py_program:run(Program, Options, 10_000),
    case unicode:characters_to_list(Output) of
        Text when is_list(Text) -> string:trim(Text);
        _ -> string:trim(binary_to_list(Output))
    end.
