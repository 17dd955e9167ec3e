%%% @doc A directory of this node's own for what both halves look at: counters in mapped pages, sockets of standard errors.
%%%
%%% It lies in memory where the system has a place for that, can be entered by this user only, and goes with the
%%% application. What a killed node has left is taken away when the next one starts.
-module(py_directory).

-export([new/0, delete/0, path/1, modules/0]).

-define(PREFIX, "erl-py-").

%% @doc Make the directory, and delete those of nodes that are gone. `{error, _}' where nothing can be written.
-spec new() -> ok | {error, {no_directory, string()}}.
new() ->
    %% Of a start that failed half way.
    ok = delete(),
    Root = root(),
    sweep(Root),
    Name = io_lib:format("~ts~ts-~ts", [?PREFIX, os:getpid(), binary:encode_hex(crypto:strong_rand_bytes(6))]),
    Path = lists:flatten(filename:join(Root, Name)),
    case file:make_dir(Path) of
        ok ->
            ok = file:change_mode(Path, 8#700),
            persistent_term:put(?MODULE, Path);
        {error, _} ->
            {error, {no_directory, Path}}
    end.

-spec delete() -> ok.
delete() ->
    case persistent_term:get(?MODULE, undefined) of
        undefined ->
            ok;
        Path ->
            _ = file:del_dir_r(Path),
            _ = persistent_term:erase(?MODULE),
            ok
    end.

%% @doc A file in it; short enough for the name of a socket.
-spec path(string()) -> string().
path(Name) -> filename:join(persistent_term:get(?MODULE), Name).

%% @doc The name of the directory for modules that other nodes have sent, see {@link py_cluster:push/1}.
-spec modules() -> string().
modules() -> "modules".

root() ->
    Candidates = ["/dev/shm" | [Value || Name <- ["TMPDIR"], Value <- [os:getenv(Name)], is_list(Value)]],
    case lists:filter(fun is_usable/1, Candidates) of
        [Root | _] -> Root;
        [] -> "/tmp"
    end.

is_usable(Path) ->
    case file:read_file_info(Path) of
        %% The name of a Unix socket has some hundred bytes.
        {ok, Info} -> element(3, Info) =:= directory andalso element(4, Info) =:= read_write andalso length(Path) < 50;
        {error, _} -> false
    end.

%% A directory is its node's, which its name tells by the process; another one's with that number it may become later.
sweep(Root) ->
    Old = [Path || Path <- filelib:wildcard(filename:join(Root, ?PREFIX ++ "*")), is_left(filename:basename(Path))],
    lists:foreach(fun file:del_dir_r/1, Old).

is_left(?PREFIX ++ Rest) ->
    [OsPid | _] = string:split(Rest, "-"),
    OsPid =/= os:getpid() andalso lists:all(fun(C) -> C >= $0 andalso C =< $9 end, OsPid) andalso
        filelib:is_dir("/proc/self") andalso not filelib:is_dir("/proc/" ++ OsPid).
