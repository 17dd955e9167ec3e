%%% @doc A directory of this node's own for what both halves look at: counters in mapped pages, sockets of standard errors.
%%%
%%% It lies in memory where the system has a place for that, can be entered by this user only, and goes with the
%%% application. What a killed node has left is taken away when the next one starts.
%%%
%%% Its name says whose it is: the process, when that began, and in which namespace its number means something (proc(5),
%%% pid_namespaces(7)). So another process that has got the number keeps nothing, and a container that sees the directory of
%%% another one leaves it alone.
%%%
%%% Other users can make directories and links of such names beside it. Theirs are left alone, whatever they hold: only what
%%% belongs to this user, is a directory, and lets nobody else in is taken away. Between the look and the deletion nobody can
%%% put something else in its place, since this is done only where {@link is_safe/2} holds.
%%% @private
-module(py_directory).

-include_lib("kernel/include/file.hrl").

-export([new/0, delete/0, delete/1, path/1, socket/1, modules/0, is_safe/2, run/0, is_over/2]).

-define(PREFIX_NAME, "erl-py").
%% The process, when it began, its namespace; what is drawn by lot.
-define(NAME, "\\Aerl-py-([0-9]{1,10})-([0-9A-Z]{1,20})-([0-9A-Z]{1,20})-[0-9A-Fa-f]{2,16}\\z").
-define(RANDOM_BYTES, 4).
%% Numbers are short: the name of a Unix socket, of which this is the first part, has some hundred bytes.
-define(BASE, 36).
-define(MOST_BYTES, 76).
%% As many links as Linux follows on a path (path_resolution(7)).
-define(MOST_LINKS, 40).
%% Whoever could guess a name would have to have guessed all of these.
-define(MOST_NAMES, 10).

%% @doc Make the directory, and delete those of nodes that are gone. `{error, _}' where nothing can be written, or where others
%% could put something else in its place.
-spec new() -> ok | {error, {no_directory, string()}}.
new() ->
    %% Of a start that failed half way.
    ok = delete(),
    new(roots(), "/tmp").

new([Root | Others], _Tried) ->
    case made(Root, ?MOST_NAMES) of
        {ok, Path, User} ->
            case is_safe(Root, User) of
                true ->
                    sweep(Root, User),
                    persistent_term:put(?MODULE, Path);
                false ->
                    _ = file:del_dir(Path),
                    new(Others, Root)
            end;
        error ->
            new(Others, Root)
    end;
new([], Tried) ->
    {error, {no_directory, Tried}}.

%% Memory first. The same place twice is no matter.
roots() -> ["/dev/shm"] ++ [Path || Path <- [os:getenv("TMPDIR")], is_list(Path), Path =/= ""] ++ ["/tmp"].

%% Whoever this process is for the system, its new directory belongs to.
made(_Root, 0) ->
    error;
made(Root, Left) ->
    Path = filename:join(Root, name()),
    case length(Root) + 1 + length(filename:basename(Path)) =< ?MOST_BYTES andalso file:make_dir(Path) of
        ok ->
            _ = file:change_mode(Path, 8#700),
            case {file:read_link_info(Path), file:list_dir_all(Path)} of
                {{ok, #file_info{type = directory, mode = Mode, uid = User}}, {ok, []}} when Mode band 8#777 =:= 8#700 ->
                    {ok, Path, User};
                %% Somebody was quicker: before it was closed, all were let in by the mask of this process.
                _ ->
                    made(Root, Left - 1)
            end;
        {error, eexist} ->
            made(Root, Left - 1);
        _ ->
            error
    end.

name() ->
    Random = string:lowercase(binary_to_list(binary:encode_hex(crypto:strong_rand_bytes(?RANDOM_BYTES)))),
    lists:flatten(lists:join("-", [?PREFIX_NAME, os:getpid(), began(os:getpid()), namespace(), Random])).

%% @doc Whether nobody but this user and the system can put something else in the place of what this user has in a directory: each
%% directory on the way there belongs to one of the two, and no one else may write in it, or may touch only their own (sticky).
-spec is_safe(file:filename(), User :: non_neg_integer()) -> boolean().
is_safe(Path, User) ->
    case file:read_link_info("/") of
        {ok, #file_info{uid = System}} ->
            is_safe(filename:split(filename:absname(Path)), "/", lists:usort([0, System, User]), ?MOST_LINKS);
        {error, _} ->
            false
    end.

%% `At' is where the path has led so far.
is_safe([], _At, _Users, _Left) -> true;
is_safe(["." | Rest], At, Users, Left) -> is_safe(Rest, At, Users, Left);
is_safe([".." | Rest], At, Users, Left) -> is_safe(Rest, filename:dirname(At), Users, Left);
is_safe([Name | Rest], At, Users, Left) ->
    Path = filename:join(At, Name),
    case file:read_link_info(Path) of
        {ok, #file_info{type = directory, uid = User, mode = Mode}} ->
            lists:member(User, Users) andalso
                (Mode band 8#022 =:= 0 orelse Mode band 8#1000 =/= 0) andalso
                is_safe(Rest, Path, Users, Left);
        {ok, #file_info{type = symlink, uid = User}} when Left > 0 ->
            case lists:member(User, Users) andalso file:read_link(Path) of
                {ok, Target} -> is_safe(filename:split(Target) ++ Rest, At, Users, Left - 1);
                _ -> false
            end;
        _ ->
            false
    end.

%% @doc Delete it, with all that is in it.
-spec delete() -> ok.
delete() ->
    case persistent_term:get(?MODULE, undefined) of
        undefined ->
            ok;
        Path ->
            delete(Path),
            _ = persistent_term:erase(?MODULE),
            ok
    end.

%% @doc Delete what lies below a directory of this application's, and it itself; no link is followed, and nothing that was mounted
%% there is entered. What can't be deleted is left.
-spec delete(file:filename_all()) -> ok.
delete(Path) ->
    case file:read_link_info(Path) of
        {ok, #file_info{major_device = Device}} -> delete(Path, Device);
        {error, _} -> ok
    end.

delete(Path, Device) ->
    case file:read_link_info(Path) of
        {ok, #file_info{type = directory, major_device = Device, mode = Mode}} ->
            %% The last of its rights may have been taken from it.
            _ = Mode band 8#700 =:= 8#700 orelse file:change_mode(Path, 8#700),
            _ = [delete(filename:join(Path, Name), Device) || {ok, Names} <- [file:list_dir_all(Path)], Name <- Names],
            _ = file:del_dir(Path),
            ok;
        {ok, #file_info{type = directory}} ->
            ok;
        {ok, _} ->
            _ = file:delete(Path, [raw]),
            ok;
        {error, _} ->
            ok
    end.

%% @doc The name of a link to a Unix socket that lies elsewhere, and goes with this node where it still is that inode.
-spec socket(Inode :: non_neg_integer()) -> file:filename().
socket(Inode) -> path("socket-" ++ integer_to_list(Inode)).

%% @doc A file in it; short enough for the name of a socket.
-spec path(string()) -> string().
path(Name) -> filename:join(persistent_term:get(?MODULE), Name).

%% @doc The name of the directory for modules that other nodes have sent, see {@link py_cluster:push/1}.
-spec modules() -> string().
modules() -> "modules".

%% Of this process, too, where there was one before.
sweep(Root, User) ->
    case filelib:is_dir("/proc/self") andalso file:list_dir_all(Root) of
        {ok, Names} ->
            Here = namespace(),
            Paths = [filename:join(Root, Name) || Name <- Names, is_left(Name, Here)],
            lists:foreach(fun delete/1, [Path || Path <- Paths, is_own(Path, User)]);
        _ ->
            ok
    end.

is_own(Path, User) ->
    case file:read_link_info(Path) of
        {ok, #file_info{type = directory, uid = User, mode = Mode}} -> Mode band 8#777 =:= 8#700;
        _ -> false
    end.

%% A name that is no text is a binary.
is_left(Name, Here) when is_list(Name) ->
    case re:run(Name, ?NAME, [{capture, all_but_first, list}]) of
        {match, [OsPid, Began, Here]} -> began(OsPid) =/= Began;
        _ -> false
    end;
is_left(_Name, _Here) ->
    false.

%% @doc What tells this run of the node from others, beside the number of its process.
-spec run() -> string().
run() -> began(os:getpid()) ++ "-" ++ namespace().

%% @doc Whether the run of a node with that process is over, as far as can be seen from here: of one whose number means something
%% else here nothing is known.
-spec is_over(OsPid :: string(), Run :: string()) -> boolean().
is_over(OsPid, Run) ->
    Here = namespace(),
    case re:run([OsPid, "-", Run], "\\A[0-9]{1,10}-([0-9A-Z]{1,20})-([0-9A-Z]{1,20})\\z", [{capture, all_but_first, list}]) of
        {match, [Began, Here]} -> filelib:is_dir("/proc/self") andalso began(OsPid) =/= Began;
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
