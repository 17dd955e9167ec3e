%%% @doc A box for an interpreter that nobody has to trust: the behaviour that each kind of box has, and the way to the one that a
%%% pool's option `sandbox' names.
%%%
%%% A kind is a module that makes the command line of its box, and knows what is in it once it runs. What boxes need of this
%%% machine is in {@link py_sandbox_host}, what runs in one in {@link py_sandbox_processes}. What is missing is an error that says
%%% what to do about it, see {@link py_reason}.
%%% @private
-module(py_sandbox).

-export([command/4, diagnosis/3, settings/1, inner/2, close/1]).
-export_type([mount/0, box/0, own/0, made/0, reason/0]).

-type mount() :: {directory, Source :: binary(), Target :: binary()} | {empty, Target :: binary()}.
%% What one box has beside its pool's directories: a directory of this machine's, to be read and written, or room of its own.
-type command() :: #{
    program := file:filename_all(),
    args := [unicode:chardata()],
    env := [{string(), string() | false}],
    stdio := use_stdio | nouse_stdio
}.
%% What a port runs.
-type own() :: #{
    package := file:filename_all(),
    arguments := fun((Directory :: string()) -> [unicode:chardata()]),
    flags := [string()],
    filter := undefined | file:filename_all(),
    run := string(),
    is_over := fun((Owner :: string(), Run :: string()) -> boolean())
}.
%% What a box needs to know of the Python half: where the package `erl' lies, the interpreter's arguments where that directory is
%% the one named, the port program's flags; the file of the program for seccomp(2); what tells this run of the BEAM from others,
%% and whether another one is over.
-type made() :: #{
    program := file:filename_all(),
    args := [unicode:chardata()],
    env := [{string(), string() | false}],
    script := string(),
    stdio := use_stdio | nouse_stdio
}.
%% How a kind of box is made: the program, run by the line `script' of a shell, which calls it `"$@"'.
-opaque box() :: {module(), State :: term()}.
-type reason() ::
    {py_pool_options:sandbox_kind(), no_program}
    | {bwrap, {version, Said :: string()}}
    | {bwrap, {footprint, Python :: string(), Said :: string()}}
    | {bwrap, {max_processes, Kernel :: string()}}
    | {docker, {no_daemon, Said :: string()}}
    | {docker, {no_image, string()}}
    | {py_pool_options:sandbox_kind(), {no_directory, Io :: string()}}
    | {py_pool_options:sandbox_kind(), {io_owner, Io :: string(), file:posix()}}
    | {py_pool_options:sandbox_kind(), {io_link, Io :: string(), Link :: string()}}.

%% How to start the interpreter `Python' in a box; `Stderr' is the socket that is to be its standard error. Throws
%% `{refused, reason()}'. The state is what the other callbacks get.
-callback command(py_config:pool(), Python :: file:filename_all(), Stderr :: file:filename_all() | undefined, own()) ->
    {made(), State :: term()}.
%% What the interpreter in the box is told of the files that one outside shares with its worker process.
-callback settings(State :: term()) -> #{page := undefined, stderr := binary() | undefined}.
%% The interpreter's own number on this machine, below that of what made the box.
-callback inner(State :: term(), OsPid :: non_neg_integer()) -> non_neg_integer() | undefined.
%% End what a killed box leaves.
-callback close(State :: term()) -> ok.

-define(ASKED, "exec \"$@\" </dev/null").

-spec module(py_pool_options:sandbox_kind()) -> module().
module(bwrap) -> py_sandbox_bwrap;
module(docker) -> py_sandbox_docker.

%% @doc How to start this interpreter in its box: the program of a port, and what is kept of the box. `Stderr' is the socket
%% that is to be its standard error.
-spec command(py_config:pool(), Python :: file:filename_all(), Stderr :: file:filename_all() | undefined, own()) ->
    {ok, command(), box()} | {error, {sandbox, reason()}}.
command(#{sandbox := Kind} = Config, Python, Stderr, Own) ->
    Module = module(Kind),
    try Module:command(Config, Python, Stderr, Own) of
        {Made, State} -> {ok, shell(Made, Own), {Module, State}}
    catch
        throw:{refused, Reason} -> {error, {sandbox, Reason}}
    end.

%% @doc The same for an interpreter that is to say why it does not start.
-spec diagnosis(py_config:pool(), Python :: file:filename_all(), own()) ->
    {ok, command()} | {error, {sandbox, reason()}}.
diagnosis(#{sandbox := Kind} = Config, Python, Own) ->
    Module = module(Kind),
    try Module:command(Config, Python, undefined, Own) of
        {Made, _State} -> {ok, shell(Made#{script := ?ASKED, stdio := use_stdio}, Own)}
    catch
        throw:{refused, Reason} -> {error, {sandbox, Reason}}
    end.

%% `$0' is the file of the program for seccomp(2), where there is one.
shell(#{program := Program, args := Args, env := Env, script := Script, stdio := Stdio}, #{filter := Filter}) ->
    Flat = [flat(Arg) || Arg <- [Program | Args]],
    {Reading, Name} =
        case Filter of
            undefined -> {Script, "py-sandbox"};
            _ -> {[Script, " ", py_seccomp:descriptor(), "<\"$0\""], Filter}
        end,
    #{program => "/bin/sh", args => ["-c", lists:flatten(Reading), Name | Flat], env => Env, stdio => Stdio}.

%% Bytes of the file system stay what they are.
flat(Binary) when is_binary(Binary) -> Binary;
flat(Text) -> unicode:characters_to_list(Text).

%% @doc What the interpreter in the box is told of the files that one outside shares with its worker process: it has no
%% page to count in, which it could fill the machine's memory with.
-spec settings(box()) -> #{page := undefined, stderr := binary() | undefined}.
settings({Module, State}) -> Module:settings(State).

%% @doc The interpreter's own number on this machine, below that of what made the box: who is to be interrupted. Of a
%% container it is that of the client, which passes signals on. `undefined' where the system does not tell.
-spec inner(box(), OsPid :: non_neg_integer()) -> non_neg_integer() | undefined.
inner({Module, State}, OsPid) -> Module:inner(State, OsPid).

%% @doc End what a killed box leaves: a container does not end with its client.
-spec close(box()) -> ok.
close({Module, State}) -> Module:close(State).
