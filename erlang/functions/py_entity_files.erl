%%% @doc The files of entities, `<state_dir>/<project>/<type>/<name>/<id>/{entity.json,content}': each appears with one rename, and goes with one.
%%%
%%% ```
%%%   entity.json    {"format": 1, "stored_us": 1732892400000000, "entity": {...}}
%%% '''
%%%
%%% A directory below `incoming' is named by the process that writes there: `<os pid>-<started>-<namespace>-<random>'.
%%% @private
-module(py_entity_files).

-include_lib("kernel/include/file.hrl").

-export([incoming/1, sweep/1, write/2, put/6, read/2, content/2, delete/2, scan/2, stored_us/2, projects/1]).

-define(HEAD, "{\"format\": 1, \"stored_us\": ").
-define(ENTITY, ", \"entity\": ").
-define(MOST_BYTES, (1 bsl 20) + 128).
-define(MOST_HEAD_BYTES, 64).
%% What was written in another namespace of processes, of which nothing is known from here.
-define(OTHERS_SECONDS, 86_400).

%% @doc Where contents are written before they are an entity's.
-spec incoming(binary()) -> binary().
incoming(Directory) -> filename:join(Directory, <<"incoming">>).

%% @doc Delete what nobody writes any more.
-spec sweep(binary()) -> ok.
sweep(Incoming) ->
    case file:list_dir(Incoming) of
        {ok, Names} -> lists:foreach(fun(Name) -> is_left(Name, Incoming) andalso py_directory:delete(filename:join(Incoming, py_store:bytes(Name))) end, Names);
        {error, _} -> ok
    end.

is_left(Name, Incoming) ->
    case string:split(Name, "-", all) of
        [OsPid, Started, Namespace, _] ->
            case list_to_binary(Namespace) =:= namespace() of
                true -> is_digits(OsPid) andalso not is_writing(list_to_integer(OsPid), list_to_binary(Started));
                false -> is_old(filename:join(Incoming, Name))
            end;
        _ ->
            is_old(filename:join(Incoming, py_store:bytes(Name)))
    end.

is_digits(Text) -> Text =/= [] andalso lists:all(fun(C) -> C >= $0 andalso C =< $9 end, Text).

is_writing(OsPid, Started) ->
    case py_launcher:identity(OsPid) of
        Known when is_binary(Known) -> Known =:= Started;
        unknown -> filelib:is_file(<<"/proc/self/stat">>) =:= false;
        gone -> false
    end.

is_old(Path) ->
    case file:read_link_info(Path, [{time, posix}]) of
        {ok, #file_info{mtime = Time}} -> erlang:system_time(second) - Time > ?OTHERS_SECONDS;
        {error, _} -> false
    end.

%% Its number: "pid:[4026531836]".
namespace() ->
    case file:read_link("/proc/self/ns/pid") of
        {ok, Text} -> << <<C>> || C <- Text, C >= $0, C =< $9 >>;
        {error, _} -> <<"0">>
    end.

own(Incoming) ->
    #{os_pid := OsPid, started := Started} = py_fence:own(),
    Random = string:lowercase(binary:encode_hex(crypto:strong_rand_bytes(8))),
    Named = case Started of <<>> -> <<"0">>; _ -> Started end,
    filename:join(Incoming, <<(integer_to_binary(OsPid))/binary, $-, Named/binary, $-, (namespace())/binary, $-, Random/binary>>).

%% @doc Write what is to be one's content: the name of its directory there, `<<>>' for none. The paths of a folder's files are below it.
-spec write(Incoming :: binary(), [] | {file, binary()} | {folder, [{Path :: binary(), binary()}]}) -> {ok, binary()} | {error, file:posix()}.
write(_Incoming, []) ->
    {ok, <<>>};
write(Incoming, Content) ->
    New = own(Incoming),
    Place = filename:join(New, <<"content">>),
    Written = [
        case py_store:ensure(filename:dirname(File)) of
            ok -> written(File, Bytes);
            Error -> Error
        end
     || {File, Bytes} <- files(Content, Place)
    ],
    Made = case Content of {folder, _} -> py_store:ensure(Place); _ -> ok end,
    case [Error || {error, _} = Error <- [Made | Written]] of
        [] -> {ok, filename:basename(New)};
        [Error | _] -> py_directory:delete(New), Error
    end.

files({file, Bytes}, Place) -> [{Place, Bytes}];
files({folder, Files}, Place) -> [{filename:join(Place, Path), Bytes} || {Path, Bytes} <- Files].

written(File, Bytes) ->
    case py_store:write(File, Bytes) of
        ok -> file:change_mode(File, 8#400);
        Error -> Error
    end.

%% @doc Have one appear.
-spec put(py_entities:entity(), pos_integer(), binary(), From :: binary(), binary(), Tries :: non_neg_integer()) -> ok | {error, eexist | {text, string()} | file:posix()}.
put(Entity, Us, Text, From, Directory, Tries) ->
    case content_of(From, incoming(Directory)) of
        {ok, Content} ->
            New = own(incoming(Directory)),
            Done = case py_store:ensure(New) of
                ok -> filled(Content, New, [?HEAD, integer_to_binary(Us), ?ENTITY, Text, "}\n"]);
                Error -> Error
            end,
            Answer = case Done of
                ok -> appeared(New, path(tuple_to_list(Entity), Directory), Directory, Tries);
                _ -> Done
            end,
            _ = Answer =:= ok orelse py_directory:delete(New),
            Answer;
        Error ->
            Error
    end.

content_of(<<>>, _Incoming) ->
    {ok, none};
content_of(Name, Incoming) ->
    Path = filename:join([Incoming, Name, <<"content">>]),
    case re:run(Name, "\\A[0-9]+-[0-9]+-[0-9]+-[0-9a-f]+\\z", [{capture, none}]) =:= match andalso {file:read_link_info(filename:join(Incoming, Name)), file:read_link_info(Path)} of
        {{ok, #file_info{type = directory}}, {ok, #file_info{type = Type}}} when Type =:= regular; Type =:= directory -> {ok, Path};
        {{error, enoent}, _} -> {error, {text, "what was written for it is not there any more"}};
        _ -> {error, {text, "its content is a file or a directory that py_entity:place/0 has room for"}}
    end.

filled(none, New, Text) ->
    py_store:write(filename:join(New, <<"entity.json">>), Text);
filled(Content, New, Text) ->
    case file:rename(Content, filename:join(New, <<"content">>)) of
        ok -> py_store:write(filename:join(New, <<"entity.json">>), Text);
        Error -> Error
    end.

%% The rename onto a directory that is there and not empty is refused by the system.
appeared(New, Path, Directory, Tries) ->
    Above = filename:dirname(Path),
    IsNew = not filelib:is_dir(Above),
    case made(Above, Directory) of
        ok ->
            case file:rename(New, Path) of
                ok -> synced(Above, IsNew, Directory);
                {error, Reason} when Reason =:= eexist; Reason =:= enotempty -> {error, eexist};
                {error, enoent} when Tries > 0 -> appeared(New, Path, Directory, Tries - 1);
                Error -> Error
            end;
        {error, enoent} when Tries > 0 -> appeared(New, Path, Directory, Tries - 1);
        Error -> Error
    end.

%% Not the state_dir itself: without that there is no lock.
made(Above, Directory) ->
    case filelib:is_dir(Directory) of
        true -> py_store:ensure(Above);
        false -> {error, enotdir}
    end.

synced(Path, IsNew, Directory) ->
    py_store:sync_directory(Path),
    case IsNew andalso Path =/= Directory of
        true -> synced(filename:dirname(Path), true, Directory);
        false -> ok
    end.

path(Parts, Directory) -> filename:join([Directory | Parts]).

%% @doc What its file says, whatever that is.
-spec read(py_entities:entity(), binary()) -> {ok, binary()} | {error, file:posix()}.
read(Entity, Directory) ->
    %% One call of the system's instead of three: a list reads thousands.
    case file:read_file(file_of(Entity, Directory)) of
        {ok, Text} when byte_size(Text) > ?MOST_BYTES -> {ok, binary:copy(binary:part(Text, 0, ?MOST_BYTES))};
        Read -> Read
    end.

%% The parts are names: `filename:join/1', which looks at each character, takes longer than to read the file.
file_of({Project, Type, Name, Id}, Directory) ->
    <<Directory/binary, $/, Project/binary, $/, Type/binary, $/, Name/binary, $/, Id/binary, "/entity.json">>.

first(File, Bytes) ->
    case file:open(File, [read, raw, binary]) of
        {ok, Opened} ->
            Read = file:read(Opened, Bytes),
            _ = file:close(Opened),
            case Read of
                eof -> {ok, <<>>};
                _ -> Read
            end;
        Error ->
            Error
    end.

%% @doc Where its content lies, if it has one.
-spec content(py_entities:entity(), binary()) -> binary().
content(Entity, Directory) -> filename:join(path(tuple_to_list(Entity), Directory), <<"content">>).

%% @doc Have an entity go, or all that are below.
-spec delete([binary()], binary()) -> ok | {error, file:posix()}.
delete(Parts, Directory) ->
    Path = path(Parts, Directory),
    Gone = own(incoming(Directory)),
    _ = py_store:ensure(incoming(Directory)),
    case file:rename(Path, Gone) of
        ok ->
            py_store:sync_directory(filename:dirname(Path)),
            py_directory:delete(Gone),
            emptied(filename:dirname(Path), length(Parts) - 1);
        Error ->
            Error
    end.

%% The directories above, where nothing is in them any more.
emptied(Path, Depth) when Depth > 0 ->
    case file:del_dir(Path) of
        ok -> emptied(filename:dirname(Path), Depth - 1);
        {error, _} -> ok
    end;
emptied(_Path, _Depth) ->
    ok.

%% @doc The entities of a project, and when they were written.
-spec scan(binary(), binary()) -> [{py_entities:entity(), non_neg_integer()}].
scan(Project, Directory) ->
    [{{Project, Type, Name, Id}, Us}
     || Type <- names([Project], Directory), Name <- names([Project, Type], Directory), Id <- names([Project, Type, Name], Directory),
        {ok, Us} <- [stored_us({Project, Type, Name, Id}, Directory)]].

names(Parts, Directory) ->
    case file:list_dir(path(Parts, Directory)) of
        {ok, Names} -> [Name || Listed <- Names, is_list(Listed), Name <- [unicode:characters_to_binary(Listed)], py_store:is_name(Name)];
        {error, _} -> []
    end.

%% @doc When one was written. One of another format can't be read, and was written before all others.
-spec stored_us(py_entities:entity(), binary()) -> {ok, non_neg_integer()} | {error, file:posix()}.
stored_us(Entity, Directory) ->
    case first(file_of(Entity, Directory), ?MOST_HEAD_BYTES) of
        {ok, <<?HEAD, Rest/binary>>} -> {ok, number(Rest, 0)};
        {ok, _} -> {ok, 0};
        {error, _} = Error -> Error
    end.

number(<<C, Rest/binary>>, Number) when C >= $0, C =< $9, Number < 1 bsl 60 -> number(Rest, Number * 10 + C - $0);
number(_, Number) -> Number.

%% @doc The projects that there are.
-spec projects(binary()) -> [binary()].
projects(Directory) -> lists:sort([Name || Name <- names([], Directory), py_store:is_project(Name), names([Name, <<"project">>], Directory) =/= []]).
