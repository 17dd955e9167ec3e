%%% @doc A front: a Python that speaks HTTP for a service, from its start to its end.
%%%
%%% ```
%%% > {start, 1, Settings}  > {state, State}  > {metrics, Id, Text}  > {ping, Number}
%%% < {listening, 1, Info}  < {failed, Reason, Text}  < {figures, Figures}  < {metrics, Id}  < {drained, 0}  < {log, Level, Text}
%%% < {ready, 0}  < {pong, Number}
%%% '''
%%%
%%% One that does not answer for half a minute (it is stopped, or frozen) would let clients wait for ever: it is killed, and another one
%%% takes its place. That is counted in pings, so that neither a machine that stood still nor a clock that jumps counts.
%%%
%%% What it says here is decoded as what a front says at the gateway: no new atoms, nothing that stays, nothing large. "Services" in
%%% docs/architecture.md has the states.
%%% @private
-module(py_front).
-behaviour(gen_server).

-export([start_link/3, tell/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-record(state, {
    owner :: pid(),
    port :: port(),
    os_pid :: non_neg_integer(),
    input = py_gateway_wire:input() :: py_wire:input(),
    is_listening = false :: boolean(),
    failure = none :: none | binary(),
    %% Pings without an answer, and the timer of the next one.
    unanswered = 0 :: non_neg_integer(),
    pings = none :: none | reference()
}).

-define(VERSION, 1).
-define(FRAME_BYTES, 1_048_576).
-define(FRAME_WORDS, 65_536).
-define(START_MS, 60_000).
-define(PING_MS, 5_000).
-define(MOST_UNANSWERED, 6).

%% @doc Start one for the calling process. That is told `{py_front, Front, What}': `{listening, OsPid}', `{failed, Text}', `{figures, Figures}',
%% `{metrics, Id}', `ready' once it answers requests, `drained'.
-spec start_link(Owner :: pid(), Settings :: map(), py_config:pool()) -> gen_server:start_ret().
start_link(Owner, Settings, Config) -> gen_server:start_link(?MODULE, {Owner, Settings, Config}, []).

%% @doc Tell it something.
-spec tell(pid(), tuple()) -> ok.
tell(Front, Message) -> gen_server:cast(Front, {tell, Message}).

-spec init({pid(), map(), py_config:pool()}) -> {ok, #state{}} | {stop, term()}.
init({Owner, Settings, Config}) ->
    process_flag(trap_exit, true),
    case opened(Config) of
        {ok, Port, OsPid} ->
            py_watchdog:watch(OsPid, []),
            said({start, ?VERSION, Settings}, Port),
            _ = erlang:start_timer(?START_MS, self(), start),
            {ok, #state{owner = Owner, port = Port, os_pid = OsPid}};
        {error, Reason} ->
            {stop, {shutdown, {failed, unicode:characters_to_binary(py_error:start_text(Reason))}}}
    end.

opened(#{env := Env} = Config) ->
    case py_launcher:find(Config) of
        {ok, _Source, Python} ->
            Arguments = py_launcher:arguments(["--front"]),
            %% Nothing of the handler's is imported there.
            Own = #{env => py_secret:reveal(Env), cd => undefined, python_path => maps:get(python_path, Config)},
            py_launcher:open_program(Python, Arguments, [stream, nouse_stdio, eof], Own);
        {error, _} = Error ->
            Error
    end.

said(Message, Port) ->
    {Frame, _} = py_gateway_wire:encode(Message),
    try port_command(Port, Frame) of
        true -> ok
    catch
        error:badarg -> ok
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(_Request, _From, State) -> {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({tell, Message}, #state{port = Port} = State) ->
    said(Message, Port),
    {noreply, State};
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({Port, {data, Data}}, #state{port = Port, input = Input} = State) ->
    case py_gateway_wire:split(Data, Input, ?FRAME_BYTES) of
        {ok, Frames, Next} -> each(Frames, State#state{input = Next});
        {error, _} -> {stop, {shutdown, bad_frame}, State}
    end;
handle_info({Port, {exit_status, Status}}, #state{port = Port, failure = Failure} = State) ->
    {stop, {shutdown, if Failure =:= none -> {exit_status, Status}; true -> {failed, Failure} end}, State#state{os_pid = 0}};
handle_info({Port, eof}, #state{port = Port} = State) ->
    {noreply, State};
handle_info({timeout, _, start}, #state{is_listening = false, failure = none} = State) ->
    {stop, {shutdown, {failed, <<"the front does not start">>}}, State};
handle_info({timeout, _, ping}, #state{unanswered = Many} = State) when Many >= ?MOST_UNANSWERED ->
    {stop, {shutdown, silent}, State};
handle_info({timeout, _, ping}, State) ->
    {noreply, pinged(State)};
handle_info({'EXIT', Owner, Reason}, #state{owner = Owner} = State) ->
    {stop, Reason, State};
handle_info(_Message, State) ->
    {noreply, State}.

pinged(#state{port = Port, unanswered = Many, pings = Before} = State) ->
    _ = Before =/= none andalso erlang:cancel_timer(Before),
    said({ping, Many}, Port),
    State#state{unanswered = Many + 1, pings = erlang:start_timer(?PING_MS, self(), ping)}.

each(<<>>, State) ->
    {noreply, State};
each(Frames, State) ->
    {Frame, Rest} = py_gateway_wire:next(Frames),
    case py_etf:look(Frame, ?FRAME_WORDS) of
        {ok, _, []} ->
            try binary_to_term(Frame, [safe]) of
                Message -> each(Rest, told(Message, State))
            catch
                error:badarg -> {stop, {shutdown, bad_frame}, State}
            end;
        _ ->
            {stop, {shutdown, bad_frame}, State}
    end.

told({listening, ?VERSION, _Info}, #state{os_pid = OsPid} = State) ->
    tells({listening, OsPid}, pinged(State#state{is_listening = true}));
told({pong, _Number}, State) ->
    State#state{unanswered = 0};
told({failed, _Reason, Text}, State) when is_binary(Text) ->
    %% Its exit status comes next; one that says it and stays is ended by who waits for its start.
    tells({failed, Text}, State#state{failure = Text});
told({figures, Figures}, State) when is_map(Figures) ->
    tells({figures, Figures}, State);
told({metrics, Id}, State) when is_integer(Id) ->
    tells({metrics, Id}, State);
told({ready, _}, State) ->
    tells(ready, State);
told({drained, _}, State) ->
    tells(drained, State);
told({log, Level, Text}, State) when Level =:= warning; Level =:= error ->
    logger:log(Level, "a service: ~ts", [Text], #{domain => [py]}),
    State;
told(_, State) ->
    State.

tells(What, #state{owner = Owner} = State) ->
    Owner ! {py_front, self(), What},
    State.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{port = Port, os_pid = OsPid}) ->
    _ = catch port_close(Port),
    _ = OsPid > 0 andalso py_launcher:end_group(OsPid),
    py_watchdog:forget(OsPid),
    ok.

%% The settings have a token.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) -> maps:remove(message, Status).
