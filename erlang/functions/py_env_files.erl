%%% @doc Environments on the disk, `<state_dir>/envs/'.
%%%
%%% ```
%%%   <key>/                 an environment: a virtual environment, with these beside its own files
%%%        py-environment    what it is, a term in text; the last file of it that is written
%%%        requirements.lock what is in it, with hashes
%%%        used              touched when somebody asks for it
%%%        synced            there once all of it would be after the machine's death; until then it counts for this boot alone
%%%   requests/<hash>        which environment a request has led to
%%%   wheels/                what pip has fetched, for builds that are offline
%%%   new/<number>/          what is being built; nothing here is taken for whole
%%%   gone/<number>/         what is being deleted
%%% '''
%%%
%%% An environment appears by one rename, and goes by one. What lies in `new' and `gone' when a node begins is of one that was killed.
%%% @private
-module(py_env_files).

-include_lib("kernel/include/file.hrl").

-export([open/1, sweep/1, forget_requests/1, forget_wheels/1, new/1, path/2, find/2, request/2, put_request/3, publish/4, all/1, used/2, remove/2, wheels/1, relocate/2, link_own/2, is_used_by/2]).

-define(FORMAT, 1).
-define(MOST_SCRIPT_BYTES, 1 bsl 20).
-define(SYNC_MS, 600_000).

%% @doc Make the directories. A state_dir is locked: nobody else is here.
-spec open(file:filename_all()) -> ok | {error, {py, py_error:reason()}}.
open(Root) ->
    Made = [{Path, py_store:ensure(Path)} || Path <- [Root | [filename:join(Root, Name) || Name <- ["requests", "new", "gone"]]]],
    case [{Path, Reason} || {Path, {error, Reason}} <- Made] of
        [] -> ok;
        [{Path, Reason} | _] -> py_store:unusable(Path, Reason)
    end.

%% @doc Delete what nodes that were killed have left, and requests that lead nowhere.
-spec sweep(file:filename_all()) -> ok.
sweep(Root) ->
    _ = [py_directory:delete(Path) || Name <- ["new", "gone"], Path <- below(filename:join(Root, Name))],
    forget_requests(Root).

%% @doc Forget requests whose environments are gone.
-spec forget_requests(file:filename_all()) -> ok.
forget_requests(Root) ->
    _ = [file:delete(Path) || Path <- below(filename:join(Root, "requests")), not leads_somewhere(Root, Path)],
    ok.

%% @doc Forget what pip has fetched.
-spec forget_wheels(file:filename_all()) -> ok.
forget_wheels(Root) -> py_directory:delete(wheels(Root)).

leads_somewhere(Root, Path) ->
    case read(Path) of
        {ok, #{key := Key}} -> find(Root, Key) =/= error;
        _ -> false
    end.

below(Directory) ->
    case file:list_dir_all(Directory) of
        {ok, Names} -> [filename:join(Directory, Name) || Name <- Names];
        {error, _} -> []
    end.

%% @doc A directory of its own to build in.
-spec new(file:filename_all()) -> {ok, file:filename_all()} | {error, file:posix()}.
new(Root) ->
    Path = numbered(Root, "new"),
    case py_store:ensure(Path) of
        ok -> {ok, Path};
        Error -> Error
    end.

numbered(Root, Name) -> filename:join([Root, Name, os:getpid() ++ "-" ++ integer_to_list(erlang:system_time(microsecond)) ++ "-" ++ integer_to_list(erlang:unique_integer([positive]))]).

%% @doc Where an environment is.
-spec path(file:filename_all(), Key :: binary()) -> file:filename_all().
path(Root, Key) -> filename:join(Root, Key).

-spec wheels(file:filename_all()) -> file:filename_all().
wheels(Root) -> filename:join(Root, "wheels").

%% @doc An environment that is whole.
-spec find(file:filename_all(), Key :: binary()) -> {ok, py_env:env()} | error.
find(Root, Key) ->
    Path = path(Root, Key),
    case is_key(Key) andalso read(filename:join(Path, "py-environment")) of
        {ok, #{format := ?FORMAT, key := Key, boot := Boot} = Said} ->
            %% The interpreter that it was made from may be gone.
            case filelib:is_regular(filename:join([Path, "bin", "python"])) andalso is_synced(Path, Boot) of
                true -> {ok, (maps:without([format, boot], Said))#{path => Path, used => used_ms(Path)}};
                false -> error
            end;
        _ ->
            error
    end.

is_synced(Path, Boot) -> Boot =:= py_fence:boot() orelse filelib:is_regular(filename:join(Path, "synced")).

%% That takes what the disk takes, so nobody waits for it.
sync(Path) ->
    case os:find_executable("sync") of
        false -> ok;
        Sync ->
            _ = spawn(fun() ->
                {Status, _} = py_program:run(Sync, [{args, ["-f", Path]}], ?SYNC_MS),
                _ = Status =:= 0 andalso file:write_file(filename:join(Path, "synced"), <<>>)
            end),
            ok
    end.

is_key(Key) -> re:run(Key, "\\A[0-9a-f]{32}\\z", [{capture, none}]) =:= match.

used_ms(Path) ->
    case file:read_file_info(filename:join(Path, "used"), [{time, posix}]) of
        {ok, #file_info{mtime = Seconds}} -> Seconds * 1_000;
        {error, _} -> 0
    end.

%% @doc Somebody has asked for it.
-spec used(file:filename_all(), Key :: binary()) -> ok.
used(Root, Key) ->
    _ = file:write_file(filename:join(path(Root, Key), "used"), <<>>),
    ok.

%% @doc The environment that a request has led to, if all is as it was then.
-spec request(file:filename_all(), Hash :: binary()) -> {ok, py_env:env(), Said :: map()} | error.
request(Root, Hash) ->
    case read(filename:join([Root, "requests", Hash])) of
        {ok, #{format := ?FORMAT, key := Key, base := Base, identity := Identity} = Said} ->
            case find(Root, Key) of
                {ok, Env} ->
                    case py_env_pythons:identity(Base) of
                        Identity when Identity =/= none -> {ok, Env, Said};
                        _ -> error
                    end;
                error -> error
            end;
        _ ->
            error
    end.

-spec put_request(file:filename_all(), Hash :: binary(), map()) -> ok | {error, file:posix()}.
put_request(Root, Hash, Said) -> py_store:write(filename:join([Root, "requests", Hash]), text(Said#{format => ?FORMAT})).

text(Term) -> unicode:characters_to_binary(io_lib:format("%% -*- coding: utf-8 -*-~n~tp.~n", [Term])).

read(Path) ->
    case file:consult(Path) of
        {ok, [#{} = Said]} -> {ok, Said};
        _ -> error
    end.

%% @doc What was built in a directory becomes an environment, unless there is one of that key: then it is that one.
-spec publish(file:filename_all(), Built :: file:filename_all(), Key :: binary(), map()) -> {ok, py_env:env()} | {error, file:posix()}.
publish(Root, Built, Key, Said) ->
    case py_store:write(filename:join(Built, "py-environment"), text(Said#{format => ?FORMAT, key => Key, boot => py_fence:boot()})) of
        ok ->
            _ = file:write_file(filename:join(Built, "used"), <<>>),
            renamed(file:rename(Built, path(Root, Key)), Root, Built, Key);
        Error ->
            Error
    end.

renamed(ok, Root, _Built, Key) ->
    sync(path(Root, Key)),
    found(Root, Key);
renamed({error, Reason}, Root, Built, Key) when Reason =:= eexist; Reason =:= enotempty ->
    case find(Root, Key) of
        {ok, Env} -> {ok, Env};
        %% One whose interpreter is gone, or that somebody has changed.
        error ->
            ok = remove(Root, Key),
            case file:rename(Built, path(Root, Key)) of
                ok -> found(Root, Key);
                Error -> Error
            end
    end;
renamed(Error, _Root, _Built, _Key) ->
    Error.

found(Root, Key) ->
    case find(Root, Key) of
        {ok, Env} -> {ok, Env};
        error -> {error, enoent}
    end.

%% @doc All that are whole, by key.
-spec all(file:filename_all()) -> [py_env:env()].
all(Root) ->
    Keys = lists:sort([Key || Path <- below(Root), Key <- [unicode:characters_to_binary(filename:basename(Path))], is_binary(Key), is_key(Key)]),
    [Env || Key <- Keys, {ok, Env} <- [find(Root, Key)]].

%% @doc From here on it is none; its files go after that.
-spec remove(file:filename_all(), Key :: binary()) -> ok | {error, file:posix()}.
remove(Root, Key) ->
    Gone = numbered(Root, "gone"),
    case file:rename(path(Root, Key), Gone) of
        ok -> _ = spawn(fun() -> py_directory:delete(Gone) end), ok;
        {error, enoent} -> ok;
        Error -> Error
    end.

%% @doc Scripts and settings of a virtual environment name the place that it is in: have them name the one that it will be in.
-spec relocate(Built :: file:filename_all(), Final :: file:filename_all()) -> ok | {error, file:posix()}.
relocate(Built, Final) ->
    Files = [filename:join(Built, "pyvenv.cfg") | below(filename:join(Built, "bin"))],
    Done = [replaced(File, py_store:bytes(Built), py_store:bytes(Final)) || File <- Files],
    hd([Error || {error, _} = Error <- Done] ++ [ok]).

replaced(File, From, To) ->
    case file:read_link_info(File) of
        {ok, #file_info{type = regular, size = Size, mode = Mode}} when Size < ?MOST_SCRIPT_BYTES ->
            {ok, Bytes} = file:read_file(File),
            case binary:match(Bytes, From) of
                nomatch -> ok;
                _ ->
                    case file:write_file(File, binary:replace(Bytes, From, To, [global])) of
                        ok -> file:change_mode(File, Mode band 8#777);
                        Error -> Error
                    end
            end;
        _ ->
            ok
    end.

%% @doc Have the application's own package `erl' in an environment: a link, so that it is always that of the application.
-spec link_own(Site :: file:filename_all(), Package :: file:filename_all()) -> ok | {error, file:posix()}.
link_own(Site, Package) ->
    Link = filename:join(Site, "erl"),
    case file:read_link_all(Link) of
        {ok, Package} -> ok;
        {ok, _} ->
            New = Link ++ ".new",
            _ = file:delete(New),
            case file:make_symlink(Package, New) of
                ok -> file:rename(New, Link);
                Error -> Error
            end;
        {error, enoent} -> file:make_symlink(Package, Link);
        {error, _} -> {error, eexist}
    end.

%% @doc Whether a pool's options name it.
-spec is_used_by(file:filename_all(), map()) -> boolean().
is_used_by(Path, #{python := {venv, Directory}}) -> py_store:bytes(filename:absname(Directory)) =:= py_store:bytes(Path);
is_used_by(Path, #{python := Python}) when is_list(Python); is_binary(Python) ->
    Bytes = py_store:bytes(filename:absname(Python)),
    binary:longest_common_prefix([Bytes, <<(py_store:bytes(Path))/binary, "/">>]) > byte_size(py_store:bytes(Path));
is_used_by(_Path, _Config) ->
    false.
