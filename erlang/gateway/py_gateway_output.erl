%%% @doc What a group leader is asked, for a leader that takes texts and has no input. Pure but for formatting, which is another process's.
%%%
%%% See "The Erlang I/O Protocol" in the manual of stdlib.
%%% @private
-module(py_gateway_output).

-export([request/1, make/3]).

-type request() :: {text, binary(), Reply :: ok} | {format, fun(() -> binary())} | {reply, term()}.

%% @doc Have a text made by another process: the calling one is told `{py_formatted, From, As, Text}', or the asker that it is none.
-spec make(fun(() -> binary()), From :: pid(), As :: term()) -> ok.
make(Make, From, As) ->
    Leader = self(),
    _ = spawn(fun() ->
        try Make() of
            Text -> Leader ! {py_formatted, From, As, Text}
        catch
            _:_ -> From ! {io_reply, As, {error, format}}
        end
    end),
    ok.

%% @doc A text and what its asker gets; a text that has to be made first, elsewhere; or only an answer.
-spec request(term()) -> request().
request({put_chars, Encoding, Chars}) ->
    case utf8(Chars, Encoding) of
        {ok, Text} -> {text, Text, ok};
        error -> {reply, {error, no_text}}
    end;
request({put_chars, Encoding, Module, Function, Args}) ->
    {format, fun() ->
        case utf8(apply(Module, Function, Args), Encoding) of
            {ok, Text} -> Text;
            error -> <<>>
        end
    end};
%% Of OTP before R13B.
request({put_chars, Chars}) -> request({put_chars, latin1, Chars});
request({put_chars, Module, Function, Args}) -> request({put_chars, latin1, Module, Function, Args});
request({requests, Requests}) when length(Requests) >= 0 -> requests(Requests, []);
request({setopts, _}) -> {reply, ok};
request(getopts) -> {reply, [{binary, true}, {encoding, unicode}]};
request({get_geometry, _}) -> {reply, {error, enotsup}};
request(_) -> {reply, {error, request}}.

%% Texts only: nothing else makes sense in a row.
requests([Request | Rest], Acc) ->
    case request(Request) of
        {text, Text, ok} -> requests(Rest, [Text | Acc]);
        {reply, ok} -> requests(Rest, Acc);
        {format, _} -> {format, fun() -> iolist_to_binary(lists:reverse(Acc, [made(Each) || Each <- [Request | Rest]])) end};
        {reply, _} = Reply -> Reply
    end;
requests([], Acc) ->
    {text, iolist_to_binary(lists:reverse(Acc)), ok}.

made(Request) ->
    case request(Request) of
        {text, Text, _} -> Text;
        {format, Make} -> Make();
        {reply, _} -> <<>>
    end.

utf8(Chars, Encoding) when Encoding =:= unicode; Encoding =:= latin1 ->
    try unicode:characters_to_binary(Chars, Encoding) of
        Text when is_binary(Text) -> {ok, Text};
        _ -> error
    catch
        error:badarg -> error
    end;
utf8(_, _) ->
    error.
