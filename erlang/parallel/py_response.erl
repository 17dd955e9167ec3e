%%% @doc Calls whose results come as messages to the process that made them, as those of `gen_server:send_request/2' do.
%%%
%%% The functions take the API function's arguments as a list, as those of {@link py_call} do.
%%% @private
-module(py_response).

-export([send_request/2, check/2, receive_response/2, wait_response/2]).

-type args() :: [term()].
-type response() :: {reply, term()} | {error, term()}.

%% @doc `[Module, Function, Args | Rest]' as {@link py_call:func/2} has it.
-spec send_request(send_request, args()) -> py_async:request().
send_request(Name, All) -> py_async:request(py_parallel:call({Name, All})).

%% @doc `[Message, Request]': what a message says of a request.
-spec check(check_response, args()) -> response() | no_reply.
check(Name, [Message, Request] = All) ->
    is_request(2, Request, {Name, All}),
    response(py_async:check(Message, Request)).

%% @doc `[Request, Timeout]': wait, and end the call if that is not enough.
-spec receive_response(receive_response, args()) -> response() | timeout.
receive_response(Name, All) -> wait(drop, {Name, All}).

%% @doc `[Request, Timeout]': wait, and no harm is done.
-spec wait_response(wait_response, args()) -> response() | timeout.
wait_response(Name, All) -> wait(keep, {Name, All}).

wait(Late, {_, [Request, Timeout]} = Api) ->
    is_request(1, Request, Api),
    response(py_async:wait(Request, py_parallel:timeout([Timeout], 2, Api), Late)).

response({ok, Value}) -> {reply, Value};
response(Other) -> Other.

is_request(Position, Request, Api) ->
    py_async:is_request(Request) orelse py_error:badarg(Position, "must be a request of py:send_request", Api).
