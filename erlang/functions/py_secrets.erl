%%% @doc Secrets of runs: files in `<state_dir>/secrets' that nobody else may read. A run has their names; what is in them is read when an
%%% attempt begins, goes to its Python over the wire, and is written nowhere.
%%% @private
-module(py_secrets).

-include_lib("kernel/include/file.hrl").

-export([is_name/1, given/2]).
-export_type([given/0]).

-type given() :: #{env => [{binary(), {bytes, binary()}}], secrets => [{binary(), {bytes, binary()}}], cpus => number(), memory => pos_integer()}.

-define(NAME, "\\A(?!\\.\\.?\\z)[A-Za-z0-9_.-]{1,128}\\z").
-define(MOST_BYTES, 65_536).

%% @doc Whether it may be one's name: part of a path, and the name of an environment variable.
-spec is_name(term()) -> boolean().
is_name(Name) -> is_binary(Name) andalso re:run(Name, ?NAME, [{capture, none}]) =:= match.

%% @doc What an attempt is given: its secrets with what is in them. The error says which one can't be used.
-spec given(StateDirectory :: file:filename_all(), py_run_state:surroundings()) -> {ok, given()} | {error, string()}.
given(Directory, Surroundings) ->
    Read = [{Name, read(filename:join([Directory, <<"secrets">>, Name]))} || Name <- maps:get(secrets, Surroundings, [])],
    case [{Name, Why} || {Name, {error, Why}} <- Read] of
        [{Name, Why} | _] ->
            Path = py_store:text(filename:join(Directory, <<"secrets">>)),
            {error, lists:flatten(io_lib:format("the secret ~ts, a file in ~ts: ~ts", [Name, Path, Why]))};
        [] ->
            Env = [{env, [{Name, {bytes, Value}} || {Name, Value} <- maps:get(env, Surroundings, [])]} || is_map_key(env, Surroundings)],
            Secrets = [{secrets, [{Name, {bytes, Value}} || {Name, {ok, Value}} <- Read]} || Read =/= []],
            {ok, maps:merge(maps:get(limits, Surroundings, #{}), maps:from_list(Env ++ Secrets))}
    end.

%% One that others can read is none any more, and is not used as if it were.
read(Path) ->
    case file:read_file_info(Path) of
        {ok, #file_info{type = regular, mode = Mode}} when Mode band 8#077 =/= 0 ->
            {error, "others may read it: chmod 600"};
        {ok, #file_info{type = regular, size = Size}} when Size > ?MOST_BYTES ->
            {error, "it has more than 64 KiB"};
        {ok, #file_info{type = regular}} ->
            content(file:read_file(Path));
        {ok, _} ->
            {error, "it is no file"};
        {error, Reason} ->
            {error, file:format_error(Reason)}
    end.

%% Editors end a file with a newline.
content({ok, Bytes}) ->
    Value = trimmed(Bytes, byte_size(Bytes)),
    case binary:match(Value, <<0>>) of
        nomatch -> {ok, Value};
        _ -> {error, "it has a zero byte, which no environment variable has"}
    end;
content({error, Reason}) ->
    {error, file:format_error(Reason)}.

trimmed(Bytes, Size) when Size > 0 ->
    case binary:at(Bytes, Size - 1) of
        C when C =:= $\n; C =:= $\r -> trimmed(Bytes, Size - 1);
        _ -> binary:part(Bytes, 0, Size)
    end;
trimmed(_Bytes, 0) ->
    <<>>.
