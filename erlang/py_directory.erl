%%% @doc A directory of this node's own for what both halves look at: counters in mapped pages, sockets of standard errors.
%%%
%%% It lies in memory where the system has a place for that, can be entered by this user only, and goes with the
%%% application. What a killed node has left is taken away when the next one starts.
%%%
%%% Its name says whose it is: the process, when that began, and in which namespace its number means something (proc(5),
%%% pid_namespaces(7)). So another process that has got the number keeps nothing, and a container that sees the directory of
%%% another one leaves it alone.
-module(py_directory).

-export([new/0, delete/0, path/1, modules/0]).

-define(PREFIX, "erl-py-").
-define(RANDOM_BYTES, 4).
%% Numbers are short: the name of a Unix socket, of which this is the first part, has some hundred bytes.
-define(BASE, 36).
-define(MOST_BYTES, 76).

%% @doc Make the directory, and delete those of nodes that are gone. `{error, _}' where nothing can be written.
-spec new() -> ok | {error, {no_directory, string()}}.
new() ->
    %% Of a start that failed half way.
    ok = delete(),
    Random = binary:encode_hex(crypto:strong_rand_bytes(?RANDOM_BYTES)),
    Name = lists:flatten(io_lib:format("~ts~ts-~ts-~ts-~ts", [?PREFIX, os:getpid(), began(os:getpid()), namespace(), Random])),
    Root = root(?MOST_BYTES - length(Name)),
    sweep(Root),
    Path = filename:join(Root, Name),
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

root(MostBytes) ->
    Candidates = ["/dev/shm" | [Value || Name <- ["TMPDIR"], Value <- [os:getenv(Name)], is_list(Value)]],
    case [Path || Path <- Candidates, length(Path) =< MostBytes, is_usable(Path)] of
        [Root | _] -> Root;
        [] -> "/tmp"
    end.

is_usable(Path) ->
    case file:read_file_info(Path) of
        {ok, Info} -> element(3, Info) =:= directory andalso element(4, Info) =:= read_write;
        {error, _} -> false
    end.

%% Of this process, too, where there was one before.
sweep(Root) ->
    case filelib:is_dir("/proc/self") of
        true ->
            Names = [filename:basename(Path) || Path <- filelib:wildcard(filename:join(Root, ?PREFIX ++ "*"))],
            Here = namespace(),
            Left = [Name || Name <- Names, is_left(Name, Here)],
            lists:foreach(fun(Name) -> file:del_dir_r(filename:join(Root, Name)) end, Left);
        false ->
            ok
    end.

is_left(?PREFIX ++ Rest, Here) ->
    case string:split(Rest, "-", all) of
        [OsPid, Began, Here, _Random] -> began(OsPid) =/= Began;
        _ -> false
    end.

%% When a process began, in ticks since the machine did: field 22 of its `stat', the 20th behind its name.
began(OsPid) ->
    case file:read_file(["/proc/", OsPid, "/stat"]) of
        {ok, Stat} ->
            [_, Fields] = string:split(Stat, ") ", trailing),
            integer_to_list(binary_to_integer(lists:nth(20, string:split(Fields, " ", all))), ?BASE);
        {error, _} ->
            "0"
    end.

%% The number in a text like "pid:[4026531836]".
namespace() ->
    case file:read_link("/proc/self/ns/pid") of
        {ok, Text} -> integer_to_list(list_to_integer([C || C <- Text, C >= $0, C =< $9]), ?BASE);
        {error, _} -> "0"
    end.
