%%% @doc The trace that a call belongs to, from a process here to the Python that runs it, and back.
%%%
%%% What travels are the headers of W3C's Trace Context (`traceparent', `tracestate') and of whatever else OpenTelemetry's propagators are
%%% configured to write. Where the module `otel_tracer' of `opentelemetry_api' is loaded, the context is that of the process, each call has a
%%% span, and what Python calls here runs within Python's span. Without it {@link with/2} says the headers. `py' depends on
%%% neither: while there is no trace, a call asks two tables.
-module(py_trace).

-export([headers/0, with/2]).
-export([is_idle/0, within/1, carried/3, apply/4, named/3, begun/2, ended/2]).
-export_type([headers/0, span/0]).

-type headers() :: [{Name :: binary(), Value :: binary()}].
%% `[{<<"traceparent">>, <<"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01">>}]'.
-type span() :: none | {otel, SpanCtx :: term()}.

%% In the dictionary of a process.
-define(HEADERS, '$py_trace').
-define(MOST_HEADERS, 16).
-define(MOST_BYTES, 8_192).

%% @doc The headers of the trace that this process is in, `[]' where it is in none.
-spec headers() -> headers().
headers() ->
    case is_on() andalso safely(fun() -> injected(otel(otel_ctx, get_current, [])) end, []) of
        [_ | _] = Headers -> Headers;
        _ -> case get(?HEADERS) of undefined -> []; Headers -> Headers end
    end.

%% @doc Run a function within the trace that headers tell of, those of an HTTP request for example: its calls carry it on.
%% Headers that are none are passed over.
-spec with(headers() | [{string(), string()}], fun(() -> Result)) -> Result.
with(Headers, Fun) ->
    Given = checked(Headers),
    Before = put(?HEADERS, Given),
    Token = case is_on() andalso Given =/= [] of true -> {attached, extracted(Given)}; false -> none end,
    try
        Fun()
    after
        _ = case Token of {attached, Context} -> otel(otel_ctx, detach, [Context]); none -> ok end,
        case Before of
            undefined -> erase(?HEADERS);
            _ -> put(?HEADERS, Before)
        end
    end.

%% What comes from elsewhere is bound, and bytes; what is said twice is said once.
checked(Headers) when length(Headers) =< ?MOST_HEADERS ->
    Given = [{bytes(Name), bytes(Value)} || {Name, Value} <- Headers],
    Known = [{string:lowercase(Name), Value} || {Name, Value} <- Given, is_binary(Name), is_binary(Value)],
    case lists:sum([byte_size(Name) + byte_size(Value) || {Name, Value} <- Known]) =< ?MOST_BYTES of
        true -> lists:ukeysort(1, Known);
        false -> []
    end;
checked(_) ->
    [].

bytes(Text) ->
    try unicode:characters_to_binary(Text) of
        Bytes when is_binary(Bytes) -> Bytes;
        _ -> none
    catch
        error:_ -> none
    end.

%% @doc From now on, for the rest of this process.
%% @private
-spec within(headers()) -> ok.
within([]) ->
    ok;
within(Headers) ->
    _ = put(?HEADERS, Headers),
    _ = is_on() andalso extracted(Headers),
    ok.

%%% What the call path asks

%% @doc Whether this process is in no trace, and its calls have none.
%% @private
-spec is_idle() -> boolean().
is_idle() -> not is_on() andalso get(?HEADERS) =:= undefined.

%% @doc A call as it is sent: with the headers behind its own arguments, where there is a trace. Raw calls of ErlPort's have no room for them, and what
%% the server in Python serves itself needs none.
%% @private
-spec carried(span(), Entry, [term()]) -> {Entry, [term()]} when Entry :: {wrapper, atom()} | {raw, module(), atom()}.
carried(Span, {wrapper, Name} = Entry, Args) ->
    case headers(Span) of
        [] -> {Entry, Args};
        Headers -> case is_own(Args) of true -> {Entry, Args}; false -> {{wrapper, call}, ['erl.calls.tracing', run, [Name, Args, Headers], []]} end
    end;
carried(_Span, Entry, Args) ->
    {Entry, Args}.

headers(none) -> headers();
headers({otel, Span}) -> safely(fun() -> injected(otel(otel_tracer, set_current_span, [otel(otel_ctx, get_current, []), Span])) end, []).

is_own([Module | _]) when is_atom(Module) ->
    case atom_to_binary(Module) of
        <<"erl.calls.", Rest/binary>> -> Rest =/= <<"parallel">> andalso Rest =/= <<"objects">>;
        _ -> false
    end;
is_own(_) ->
    false.

%% @doc A function that Python calls within its trace.
%% @private
-spec apply(headers(), module(), atom(), [term()]) -> term().
apply(Headers, Module, Function, Args) -> with(Headers, fun() -> erlang:apply(Module, Function, Args) end).

%% @doc What a call of Python's is of: itself, or the function within {@link apply/4}.
%% @private
-spec named(module(), atom(), [term()]) -> {module(), atom(), [term()]}.
named(?MODULE, apply, [_, Module, Function, Args]) when is_atom(Module), is_atom(Function), length(Args) >= 0 -> {Module, Function, Args};
named(Module, Function, Args) -> {Module, Function, Args}.

%%% Spans

is_on() -> erlang:module_loaded(otel_tracer).

%% @doc A span of a call, where there is OpenTelemetry. The process stays in the one that it is in.
%% @private
-spec begun({wrapper, atom()} | {raw, module(), atom()}, [term()]) -> span().
begun(Entry, Args) ->
    case is_on() of
        false ->
            none;
        true ->
            safely(fun() ->
                Tracer = otel(opentelemetry, get_tracer, [?MODULE]),
                {otel, otel(otel_tracer, start_span, [Tracer, name(Entry, Args), #{kind => client, attributes => #{'rpc.system' => <<"py">>}}])}
            end, none)
    end.

%% @private
-spec ended(span(), term()) -> ok.
ended(none, _Result) ->
    ok;
ended({otel, Span}, Result) ->
    safely(fun() ->
        _ = failed(Span, Result),
        _ = otel(otel_span, end_span, [Span]),
        ok
    end, ok).

failed(Span, {error, {python, Class, _, _} = Error}) -> failed(Span, atom_to_binary(Class), Error);
failed(Span, {error, Error}) -> failed(Span, <<"py">>, Error);
failed(_Span, _Result) -> ok.

failed(Span, Class, Error) ->
    Text = string:slice(py_reason:utf8(py_error:text(Error)), 0, ?MOST_BYTES),
    _ = otel(otel_span, add_event, [Span, exception, #{'exception.type' => Class, 'exception.message' => Text}]),
    otel(otel_span, set_status, [Span, error, Text]).

name({raw, Module, Function}, _Args) -> joined(Module, Function);
name({wrapper, call}, [Module, Function | _]) -> joined(Module, Function);
name({wrapper, Entry}, [_, Name | _]) when is_atom(Name); is_binary(Name) -> joined(Entry, Name);
name({wrapper, Entry}, _Args) -> atom_to_binary(Entry).

joined(Module, undefined) -> spelled(Module);
joined(Module, Function) -> <<(spelled(Module))/binary, $., (spelled(Function))/binary>>.

spelled(Name) when is_atom(Name) -> atom_to_binary(Name);
spelled(Name) when is_binary(Name) -> Name;
spelled(_) -> <<"callable">>.

injected(Context) -> [{iolist_to_binary(Name), iolist_to_binary(Value)} || {Name, Value} <- otel(otel_propagator_text_map, inject_from, [Context, []])].

extracted(Headers) -> otel(otel_propagator_text_map, extract, [Headers]).

%% Modules of other applications: checkers need not look for them.
otel(Module, Function, Args) -> erlang:apply(Module, Function, Args).

%% A call does not fail for what watches it.
safely(Fun, Otherwise) ->
    try
        Fun()
    catch
        Class:Reason ->
            logger:debug("py: OpenTelemetry failed: ~tp", [{Class, Reason}], #{domain => [py]}),
            Otherwise
    end.
