%%% @doc The file of a service's token: a secret that only its owner can read. Where there is none it is made.
%%% @private
-module(py_service_token).

-include_lib("kernel/include/file.hrl").

-export([read/1]).

-define(LEAST_BYTES, 16).
-define(RANDOM_BYTES, 32).

%% @doc The token in a file; `undefined' where there is no file's name.
-spec read(undefined | binary()) -> {ok, undefined | binary()} | {error, string()}.
read(undefined) ->
    {ok, undefined};
read(Path) ->
    case file:read_link_info(Path) of
        {ok, #file_info{type = regular, mode = Mode, uid = User}} ->
            case {Mode band 8#077, User =:= py_sandbox_host:own_user()} of
                {0, true} -> taken(file:read_file(Path), Path);
                {0, false} -> {error, said(Path, "belongs to another user")};
                _ -> {error, said(Path, "may be read by others: chmod 600 closes it")}
            end;
        {ok, _} ->
            {error, said(Path, "is no file")};
        {error, enoent} ->
            made(Path);
        {error, Reason} ->
            {error, said(Path, file:format_error(Reason))}
    end.

taken({ok, Bytes}, Path) ->
    Token = string:trim(Bytes),
    case byte_size(Token) >= ?LEAST_BYTES andalso re:run(Token, "\\A[!-~]+\\z", [{capture, none}]) of
        match -> {ok, Token};
        _ -> {error, said(Path, "has no token: at least 16 visible characters of ASCII")}
    end;
taken({error, Reason}, Path) ->
    {error, said(Path, file:format_error(Reason))}.

%% It is closed before anything is in it.
made(Path) ->
    Token = string:lowercase(binary:encode_hex(crypto:strong_rand_bytes(?RANDOM_BYTES))),
    case file:open(Path, [write, exclusive, raw, binary]) of
        {ok, File} ->
            Written = [file:change_mode(Path, 8#600), file:write(File, [Token, $\n]), file:close(File)],
            case [Error || {error, _} = Error <- Written] of
                [] -> {ok, Token};
                [{error, Reason} | _] -> {error, said(Path, file:format_error(Reason))}
            end;
        {error, Reason} ->
            {error, said(Path, file:format_error(Reason))}
    end.

said(Path, Why) -> lists:flatten(io_lib:format("the token's file ~ts ~ts", [Path, Why])).
