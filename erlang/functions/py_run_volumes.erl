%%% @doc Volumes of runs: directories of a project, which its runs have in their boxes. A run names a volume and where it is to be; which directory
%%% that is only the node says, so nobody has a box see another part of the machine.
%%%
%%% ```
%%%   <state_dir>/<project>/.volumes/<name>/       what is kept, made when a run first names it; no entity's name begins so
%%% '''
%%% @private
-module(py_run_volumes).

-export([checked/1, mounts/3]).
-export_type([volume/0, volumes/0]).

-type volume() :: #{name := binary(), mount_path := binary(), volume_type => binary()}.
-type volumes() :: [{kept | empty, Name :: binary(), MountPath :: binary()}].

-define(MOST, 64).
-define(MOST_PATH_BYTES, 500).
%% What a box is made of, or has of its own. Below `/tmp' there is room.
-define(TAKEN, [<<"bin">>, <<"dev">>, <<"etc">>, <<"io">>, <<"lib">>, <<"lib32">>, <<"lib64">>, <<"opt">>, <<"proc">>, <<"run">>, <<"sbin">>, <<"sys">>, <<"usr">>]).
-define(KEPT, [<<"persistent_volume_claim">>, <<"shared_volume">>]).
-define(EMPTY, [<<"empty_dir">>, <<"ephemeral">>]).

%% @doc What a run is to have, or what is wrong with it.
-spec checked(term()) -> {ok, volumes()} | {error, string()}.
checked(Volumes) when is_list(Volumes), length(Volumes) =< ?MOST ->
    Checked = [volume(Volume) || Volume <- Volumes],
    Paths = [<<Path/binary, "/">> || {_, _, Path} <- Checked],
    case {[Text || {error, Text} <- Checked], is_nested(lists:sort(Paths))} of
        {[Text | _], _} -> {error, Text};
        {[], true} -> {error, "two volumes can't have one mount_path, nor one below the other's"};
        {[], false} -> {ok, Checked}
    end;
checked(_) ->
    {error, "volumes are a list of at most 64: [#{name => <<\"data\">>, mount_path => <<\"/data\">>}]"}.

volume(#{name := Name, mount_path := Path} = Volume) ->
    case {py_store:is_name(Name), is_path(Path), kind(maps:get(volume_type, Volume, hd(?KEPT))), maps:keys(maps:without([name, mount_path, volume_type], Volume))} of
        {true, true, {ok, Kind}, []} -> {Kind, Name, Path};
        {false, _, _, _} -> {error, "the name of a volume matches [a-z0-9][a-z0-9-]{0,62}"};
        {_, false, _, _} -> {error, "the mount_path of a volume is absolute, as <<\"/data\">>, without `..', and none of a box's own directories"};
        {_, _, _, [Other | _]} -> {error, lists:flatten(io_lib:format("a volume has name, mount_path and volume_type, not ~tp", [Other]))};
        {_, _, error, _} -> {error, "the volume_type of a volume is persistent_volume_claim or empty_dir"}
    end;
volume(_) ->
    {error, "a volume has a name and a mount_path: #{name => <<\"data\">>, mount_path => <<\"/data\">>}"}.

kind(Type) ->
    case {lists:member(Type, ?KEPT), lists:member(Type, ?EMPTY)} of
        {true, _} -> {ok, kept};
        {_, true} -> {ok, empty};
        _ -> error
    end.

is_path(<<"/", Path/binary>>) when byte_size(Path) < ?MOST_PATH_BYTES ->
    Parts = binary:split(Path, <<"/">>, [global]),
    is_list(unicode:characters_to_list(Path)) andalso binary:match(Path, <<0>>) =:= nomatch
        andalso lists:all(fun(Part) -> Part =/= <<>> andalso Part =/= <<".">> andalso Part =/= <<"..">> end, Parts)
        andalso not lists:member(hd(Parts), ?TAKEN) andalso Parts =/= [<<"tmp">>];
is_path(_) ->
    false.

%% In their order what is below a path comes right behind it.
is_nested([Path | [Next | _] = Rest]) -> binary:longest_common_prefix([Path, Next]) =:= byte_size(Path) orelse is_nested(Rest);
is_nested(_) -> false.

%% @doc The mounts of a project's run; what is kept is there then. The error says what can't be had.
-spec mounts(StateDirectory :: file:filename_all(), Project :: binary(), volumes()) -> {ok, [py_sandbox:mount()]} | {error, string()}.
mounts(Directory, Project, Volumes) ->
    case py_store:is_project(Project) of
        true ->
            Mounts = [mount(Directory, Project, Volume) || Volume <- Volumes],
            case [Text || {error, Text} <- Mounts] of
                [] -> {ok, Mounts};
                [Text | _] -> {error, Text}
            end;
        false ->
            {error, "volumes belong to a project whose name matches [a-z0-9][a-z0-9-]{0,62}"}
    end.

mount(_Directory, _Project, {empty, _, Path}) ->
    {empty, Path};
mount(Directory, Project, {kept, Name, Path}) ->
    Source = py_store:bytes(filename:join([Directory, Project, <<".volumes">>, Name])),
    case py_store:ensure(Source) of
        ok -> {directory, Source, Path};
        {error, Reason} -> {error, lists:flatten(io_lib:format("the volume ~ts: ~ts", [Name, file:format_error(Reason)]))}
    end.
