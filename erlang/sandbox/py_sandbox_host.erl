%%% @doc What a box needs of this machine, whatever kind it is: its program, the directory `io', whom it runs as.
%%% @private
-module(py_sandbox_host).

-export([program/1, refuse/1, text_of/1, check_io/1, user/1, give_mounts/2, own_user/0]).

-include_lib("kernel/include/file.hrl").

%% Users that no account has: above what systemd gives to containers, below what some programs take for negative.
-define(FIRST_USER, 16#70000000).
-define(USERS, 16#0fffffff).
-define(NOBODY, 65_534).
%% As many links as Linux follows on a path (path_resolution(7)).
-define(MOST_LINKS, 40).

%% @doc There is no box, for this reason.
-spec refuse(py_sandbox:reason()) -> no_return().
refuse(Reason) -> throw({refused, Reason}).

%% @doc The program that makes boxes of this kind.
-spec program(py_pool_options:sandbox_kind()) -> file:filename().
program(Kind) ->
    case os:find_executable(atom_to_list(Kind)) of
        false -> refuse({Kind, no_program});
        Program -> Program
    end.

%% @doc A path as text.
-spec text_of(file:filename_all()) -> file:filename().
text_of(Path) when is_binary(Path) -> unicode:characters_to_list(Path);
text_of(Path) -> Path.

%%% Whom it runs as

%% @doc The directory `io' is one, where the pool has any.
-spec check_io(py_config:pool()) -> ok.
check_io(#{io := undefined}) -> ok;
check_io(#{sandbox := Kind, io := Io}) ->
    case filelib:is_dir(Io) of
        true -> ok;
        false -> refuse({Kind, {no_directory, text_of(Io)}})
    end.

%% @doc An ordinary user's box is that user's (`undefined'). Root's is the owner's of `io', or nobody's; a directory of root's is
%% given to the user that all boxes with this directory run as.
-spec user(py_config:pool()) -> undefined | non_neg_integer().
user(Config) ->
    case own_user() of
        0 -> other_user(Config);
        _ -> undefined
    end.

%% @doc Whom the BEAM runs as.
-spec own_user() -> non_neg_integer().
own_user() ->
    {ok, #file_info{uid = User}} = file:read_file_info("/proc/self"),
    User.

%% All boxes with volumes of one project have one user.
other_user(#{io := undefined} = Config) ->
    case [filename:dirname(Source) || {directory, Source, _} <- maps:get(mounts, Config, [])] of
        [] -> mapped(?FIRST_USER + rand:uniform(?USERS));
        [Directory | _] -> mapped(?FIRST_USER + erlang:phash2(place(Directory), ?USERS))
    end;
other_user(#{io := Io, sandbox := Kind}) ->
    case file:read_file_info(Io) of
        {ok, #file_info{uid = 0, mode = Mode} = Info} ->
            check_links(Io, 0, Kind),
            User = mapped(?FIRST_USER + erlang:phash2({Info#file_info.major_device, Info#file_info.inode}, ?USERS)),
            Mode band 8#002 =/= 0 orelse give(Io, User, Kind),
            User;
        {ok, #file_info{uid = Owner}} ->
            check_links(Io, Owner, Kind),
            Owner;
        {error, _} ->
            refuse({Kind, {no_directory, text_of(Io)}})
    end.

%% @doc The directories that are mounted are given to whom a box of root's runs as; not what is in them.
-spec give_mounts(undefined | non_neg_integer(), py_config:pool()) -> ok.
give_mounts(undefined, _Config) ->
    ok;
give_mounts(User, #{sandbox := Kind} = Config) ->
    lists:foreach(
        fun
            ({directory, Source, _}) ->
                case file:read_link_info(Source) of
                    {ok, #file_info{type = directory, uid = User}} -> ok;
                    {ok, #file_info{type = directory}} -> give(Source, User, Kind);
                    _ -> refuse({Kind, {no_directory, text_of(Source)}})
                end;
            ({empty, _}) ->
                ok
        end,
        maps:get(mounts, Config, [])
    ).

%% A link that is neither root's nor of whom it leads to was made by somebody who may not go there: in another box, perhaps,
%% of whose `io' this one is a part.
check_links(Io, Owner, Kind) ->
    Absolute = filename:absname(text_of(Io)),
    case [Link || {Link, User} <- links(filename:split(Absolute), "/", ?MOST_LINKS), User =/= 0, User =/= Owner] of
        [] -> ok;
        [Link | _] -> refuse({Kind, {io_link, text_of(Io), Link}})
    end.

%% The links on a path, each with its owner. `At' is where the path has led so far.
links([], _At, _Left) -> [];
links(["/" | Rest], _At, Left) -> links(Rest, "/", Left);
links(["." | Rest], At, Left) -> links(Rest, At, Left);
links([".." | Rest], At, Left) -> links(Rest, filename:dirname(At), Left);
links([Name | Rest], At, Left) ->
    Path = filename:join(At, Name),
    case file:read_link_info(Path) of
        {ok, #file_info{type = symlink, uid = User}} when Left > 0 ->
            {ok, Target} = file:read_link_all(Path),
            [{Path, User} | links(filename:split(text_of(Target)) ++ Rest, At, Left - 1)];
        _ ->
            links(Rest, Path, Left)
    end.

%% What lies right below the root directory is the system's.
give(Io, User, Kind) ->
    Given =
        case place(filename:join(Io, "..")) =:= place("/") of
            false -> file:change_owner(Io, User, User);
            true -> {error, eperm}
        end,
    case Given of
        ok -> true;
        {error, Posix} -> refuse({Kind, {io_owner, text_of(Io), Posix}})
    end.

place(Path) ->
    {ok, #file_info{major_device = Device, inode = Inode}} = file:read_file_info(Path),
    {Device, Inode}.

%% In a container that has only some thousand users there is nobody.
mapped(User) ->
    case file:read_file("/proc/self/uid_map") of
        {ok, Text} ->
            [_Inside, _Outside, Count | _] = [binary_to_integer(Number) || Number <- string:lexemes(Text, " \t\n")],
            if User < Count -> User; true -> ?NOBODY end;
        {error, _} ->
            ?NOBODY
    end.
