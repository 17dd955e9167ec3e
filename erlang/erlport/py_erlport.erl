%%% @doc ErlPort's Erlang API: one instance is one process, which owns one interpreter and ends with it.
%%%
%%% ```
%%% {ok, Python} = py_erlport:start(),
%%% 3 = py_erlport:call(Python, operator, add, [1, 2]),
%%% ok = py_erlport:stop(Python).
%%% '''
%%%
%%% For code that was written for ErlPort's module `python': the names, the options, the mapping of values and the
%%% messages on the wire are ErlPort's, so that either half also works with the other half of ErlPort. It needs no
%%% application that runs and knows no pool. What is written anew is better served by {@link py}: pools, deadlines that
%%% end what has outlived them, typed values, references.
%%%
%%% An instance is no {@link py_worker}: that one outlives its interpreters, belongs to a pool and begins with a call that
%%% only our Python understands. What they have in common is below both: {@link py_launcher}, {@link py_wire},
%%% {@link py_request}.
%%%
%%% Any message that an instance receives and that is not its own goes to Python's message handler.
-module(py_erlport).
-behaviour(gen_server).

-export([start/0, start/1, start/2, start_link/0, start_link/1, start_link/2, stop/1]).
-export([call/4, call/5, cast/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).
-export_type([instance/0, name/0, start_error/0]).

-type instance() :: pid() | atom() | {atom(), node()} | {global, term()} | {via, module(), term()}.
-type name() :: {local, atom()} | {global, term()} | {via, module(), term()}.
-type start_error() ::
    py_erlport_options:problem()
    | {invalid_option, {python, string()}, not_found}
    | {no_python, py_launcher:source(), Path :: string()}
    | {open_port, Path :: string(), term()}
    | {invalid_python, Path :: string(), Why :: string()}
    | timeout
    | {already_started, pid()}.
%% Why there is no instance. `invalid_python': it ended before its first answer, and said why.

-record(state, {
    port :: port(),
    os_pid :: non_neg_integer(),
    options :: py_erlport_options:options(),
    next_id = 1 :: py_wire:id(),
    calls = #{} :: #{py_wire:id() => {gen_server:from() | async, undefined | reference()}},
    %% Calls that were given up, and may still be answered.
    late = #{} :: #{py_wire:id() => []},
    has_ended = false :: boolean()
}).

-define(MOST_ID, 16#7fffffff).

%%% For callers

%% @doc Start an instance with the default options, not linked.
-spec start() -> {ok, pid()} | {error, start_error()}.
start() -> start([]).

%% @doc Start an instance with these options, or with this name.
-spec start([py_erlport_options:option()] | name()) -> {ok, pid()} | {error, start_error()}.
start(Options) when is_list(Options) -> run(start, [], Options);
start(Name) when is_tuple(Name) -> start(Name, []).

%% @doc Start an instance with a name.
-spec start(name(), [py_erlport_options:option()]) -> {ok, pid()} | {error, start_error()}.
start(Name, Options) when is_tuple(Name), is_list(Options) -> run(start, [Name], Options).

%% @doc As {@link start/0}, linked.
-spec start_link() -> {ok, pid()} | {error, start_error()}.
start_link() -> start_link([]).

%% @doc As {@link start/1}, linked: what a supervisor's child is started by.
-spec start_link([py_erlport_options:option()] | name()) -> {ok, pid()} | {error, start_error()}.
start_link(Options) when is_list(Options) -> run(start_link, [], Options);
start_link(Name) when is_tuple(Name) -> start_link(Name, []).

%% @doc As {@link start/2}, linked.
-spec start_link(name(), [py_erlport_options:option()]) -> {ok, pid()} | {error, start_error()}.
start_link(Name, Options) when is_tuple(Name), is_list(Options) -> run(start_link, [Name], Options).

run(Start, Name, Options) ->
    case py_erlport_options:start(Options) of
        {ok, Checked} -> interpreter(Start, Name, Checked);
        {error, _} = Error -> Error
    end.

interpreter(Start, Name, #{python := undefined} = Options) ->
    case os:getenv("ERLPORT_PYTHON", "") of
        "" -> interpreter(Start, Name, undefined, Options);
        Python -> interpreter(Start, Name, Python, Options)
    end;
interpreter(Start, Name, #{python := Python} = Options) ->
    interpreter(Start, Name, Python, Options).

interpreter(Start, Name, Asked, Options) ->
    case found(Asked) of
        {ok, Python, Arguments} ->
            #{env := Env} = Options,
            Given = Options#{env := py_secret:hide(Env), arguments => Arguments},
            apply(gen_server, Start, Name ++ [?MODULE, {Python, Given}, []]);
        {error, _} when Asked =/= undefined -> {error, {invalid_option, {python, Asked}, not_found}};
        {error, _} = Error -> Error
    end.

%% The name, and the interpreter's arguments behind it, as in "python3 -X dev". A path may have spaces of its own.
found(Asked) ->
    case {py_launcher:find(#{python => Asked}), Asked} of
        {{ok, _Source, Python}, _} ->
            {ok, Python, []};
        {Error, undefined} ->
            Error;
        {Error, _} ->
            case string:lexemes(Asked, " ") of
                [Name, _ | _] = [_ | Arguments] ->
                    case py_launcher:find(#{python => Name}) of
                        {ok, _Source, Python} -> {ok, Python, Arguments};
                        {error, _} = Missing -> Missing
                    end;
                _ ->
                    Error
            end
    end.

%% @doc Stop an instance; it need not be there. A call that runs ends with `error({port_closed, stopped})' for its caller.
-spec stop(instance()) -> ok.
stop(Instance) ->
    try
        gen_server:stop(Instance)
    catch
        exit:_ -> ok
    end.

%% @doc As {@link call/5} without options.
-spec call(instance(), module(), atom(), [term()]) -> term().
call(Instance, Module, Function, Args) -> call(Instance, Module, Function, Args, []).

%% @doc Call a Python function; both names may be dotted. Returns its result, `ok' at once with the option `async'.
%%
%% Calls in vain end with
%% <ul>
%% <li>`error({python, Class, Text, Trace})': Python raised;</li>
%% <li>`error(timeout)': no answer in time. The instance lives, and what runs in it goes on running;</li>
%% <li>`error({port_closed, {code, Status}})': Python ended, and the instance with it;</li>
%% <li>`error({py, {encode, Text}})': the call is too long for the instance's `packet';</li>
%% <li>`error({py, {protocol, Frame}})': the answer can't be read;</li>
%% <li>`error({unknown_option, _})', `error({invalid_option, _})': the options;</li>
%% <li>`error(badarg)': a name is no atom, or the arguments are no list;</li>
%% <li>`exit({noproc, _})': there is no such instance.</li>
%% </ul>
%%
%% An asynchronous call that fails, or has a timeout and outlives it, ends the instance, as in ErlPort:
%% `{async_call_error, Error}', `timeout'.
-spec call(instance(), module(), atom(), [term()], [py_erlport_options:call_option()]) -> term().
call(Instance, Module, Function, Args, Options) when is_atom(Module), is_atom(Function), length(Args) >= 0 ->
    case py_erlport_options:call(Options) of
        {ok, #{async := Async, timeout := Timeout}} ->
            request(Instance, {call, py_erlport_wire:body(Module, Function, Args), Timeout}, Async);
        {error, Problem} ->
            error(Problem)
    end;
call(_Instance, _Module, _Function, _Args, _Options) ->
    error(badarg).

request(Instance, Call, true) ->
    gen_server:cast(Instance, Call);
request(Instance, Call, false) ->
    try gen_server:call(Instance, Call, infinity) of
        {ok, Frame} -> value(py_wire:answer(Frame), Frame);
        {error, Reason} -> error(Reason)
    catch
        %% The reason has the call in it, whoever prints it.
        exit:{Reason, {gen_server, call, [_ | Rest]}} ->
            exit({Reason, {gen_server, call, [Instance | shown(Rest)]}})
    end.

shown(Args) ->
    case py_config:show_arguments() of
        all -> Args;
        cut -> py_excerpt:arguments(Args);
        none -> ['...']
    end.

value({ok, Value}, _Frame) -> Value;
value({error, Error}, _Frame) -> error(Error);
value({refused, Text}, _Frame) -> error({py, {encode, Text}});
value(error, Frame) -> error({py, {protocol, Frame}}).

%% @doc Send a message to Python's message handler; `Instance ! Message' does the same. What the handler raises ends the
%% instance: `{message_handler_error, Error}'.
-spec cast(instance(), term()) -> ok.
cast(Instance, Message) -> gen_server:cast(Instance, {message, py_erlport_wire:message(Message)}).

%%% The process

-spec init({file:filename_all(), py_erlport_options:options()}) -> {ok, #state{}} | {stop, start_error()}.
init({Python, #{start_timeout := Timeout} = Options}) ->
    process_flag(trap_exit, true),
    case open(Python, Options) of
        {ok, Port, OsPid} ->
            State = #state{port = Port, os_pid = OsPid, options = Options},
            %% The protocol has no greeting: a call that any Python can answer is one.
            ok = send(py_erlport_wire:call(1, py_wire:body(operator, index, [1])), State),
            await_first(Python, py_deadline:after_ms(Timeout), State);
        {error, Reason} ->
            {stop, Reason}
    end.

open(Python, #{packet := Packet, use_stdio := UseStdio, program := Program, arguments := Given} = Options) ->
    Stdio =
        case UseStdio of
            true -> use_stdio;
            false -> nouse_stdio
        end,
    #{compressed := Level, buffer_size := Bytes} = Options,
    Flags = [
        lists:concat(["--packet=", Packet]),
        lists:concat(["--", Stdio]),
        lists:concat(["--compressed=", Level]),
        lists:concat(["--buffer_size=", Bytes])
    ],
    Arguments =
        case {Program, lists:member("-m", Given) orelse lists:member("-c", Given)} of
            %% Behind the interpreter's name stands what it is to run.
            {py, true} -> Flags;
            {py, false} -> py_launcher:arguments(Flags);
            _ -> Program ++ Flags
        end,
    py_launcher:open_program(Python, Given ++ Arguments, [{packet, Packet}, Stdio], #{
        env => py_secret:reveal(maps:get(env, Options)), cd => maps:get(cd, Options), python_path => maps:get(python_path, Options)
    }).

await_first(Python, Deadline, #state{port = Port} = State) ->
    receive
        {Port, {data, Frame}} ->
            case py_wire:route(Frame) of
                {answer, 1} ->
                    {ok, State};
                _ ->
                    await_first(request(Frame, State), Python, Deadline, State)
            end;
        {Port, {exit_status, _}} ->
            {stop, {invalid_python, to_string(Python), why(Python, State)}};
        {'EXIT', Port, _} ->
            {stop, {invalid_python, to_string(Python), why(Python, State)}}
    after py_deadline:left_ms(Deadline) ->
        end_python(State, true),
        {stop, timeout}
    end.

await_first(ok, Python, Deadline, State) ->
    await_first(Python, Deadline, State);
await_first({stop, _}, Python, _Deadline, State) ->
    end_python(State, true),
    {stop, {invalid_python, to_string(Python), "it does not speak ErlPort's protocol"}}.

why(Python, #state{options = #{program := py} = Options}) -> py_launcher:diagnose(Options, Python);
why(_Python, _State) -> "".

to_string(Path) when is_binary(Path) -> unicode:characters_to_list(Path);
to_string(Path) -> Path.

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}} | {reply, term(), #state{}}.
handle_call({call, Body, Timeout}, From, State) -> {noreply, python_call(From, Body, Timeout, State)};
handle_call(_Request, _From, State) -> {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({call, Body, Timeout}, State) ->
    {noreply, python_call(async, Body, Timeout, State)};
handle_cast({message, Frame}, State) ->
    send_message(Frame, State),
    {noreply, State};
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({Port, {data, Frame}}, #state{port = Port} = State) ->
    case py_wire:route(Frame) of
        {answer, Id} -> answer(Id, Frame, State);
        request -> stop_or_go(request(Frame, State), State)
    end;
handle_info({Port, {exit_status, Status}}, #state{port = Port} = State) ->
    {stop, {port_closed, {code, Status}}, State#state{has_ended = true}};
handle_info({'EXIT', Port, Reason}, #state{port = Port} = State) ->
    {stop, {port_closed, Reason}, State};
handle_info({timeout, Timer, {call, Id}}, #state{calls = Calls, late = Late} = State) ->
    case Calls of
        #{Id := {async, Timer}} ->
            {stop, timeout, State};
        #{Id := {From, Timer}} ->
            gen_server:reply(From, {error, timeout}),
            {noreply, State#state{calls = maps:remove(Id, Calls), late = Late#{Id => []}}};
        #{} ->
            {noreply, State}
    end;
handle_info({py_answer, Port, Id, Frame}, #state{port = Port} = State) ->
    %% What Python waits for must come.
    case send(Frame, State) of
        ok ->
            ok;
        {error, Text} ->
            ok = send(py_erlport_wire:failure(Id, {erlang, error, {too_long, list_to_binary(Text)}, []}), State)
    end,
    {noreply, State};
%% What the group leader says of a text that Python printed.
handle_info({io_reply, Reference, _}, State) when is_reference(Reference) ->
    {noreply, State};
handle_info(Message, State) ->
    send_message(py_erlport_wire:message(Message), State),
    {noreply, State}.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) -> py_excerpt:status(Status).

-spec terminate(term(), #state{}) -> ok.
terminate(Reason, #state{calls = Calls} = State) ->
    Error =
        case Reason of
            {port_closed, _} -> Reason;
            _ -> {port_closed, stopped}
        end,
    _ = [gen_server:reply(From, {error, Error}) || {From, _} <- maps:values(Calls), From =/= async],
    end_python(State, maps:size(Calls) + maps:size(State#state.late) > 0).

%% Our Python leaves when its port closes, and any that waits for the next message: one that is busy may be another's.
end_python(#state{has_ended = true}, _IsBusy) ->
    ok;
end_python(#state{port = Port, os_pid = OsPid}, IsBusy) ->
    IsBusy andalso py_launcher:kill(OsPid),
    catch port_close(Port),
    ok.

%%% Calls of Python

python_call(From, Body, default, #state{options = #{call_timeout := Timeout}} = State) ->
    python_call(From, Body, Timeout, State);
python_call(From, Body, Timeout, #state{calls = Calls} = State) ->
    Id = free_id(State),
    case send(py_erlport_wire:call(Id, Body), State) of
        ok ->
            State#state{next_id = next(Id), calls = Calls#{Id => {From, timer(Timeout, Id)}}};
        {error, Text} ->
            refuse(From, {py, {encode, Text}}),
            State
    end.

free_id(#state{next_id = Id, calls = Calls, late = Late} = State) ->
    case is_map_key(Id, Calls) orelse is_map_key(Id, Late) of
        true -> free_id(State#state{next_id = next(Id)});
        false -> Id
    end.

next(?MOST_ID) -> 1;
next(Id) -> Id + 1.

timer(infinity, _Id) -> undefined;
timer(Timeout, Id) -> erlang:start_timer(Timeout, self(), {call, Id}).

refuse(async, Reason) -> logger:error("an asynchronous call was not sent: ~ts", [py_error:text(Reason)]);
refuse(From, Reason) -> gen_server:reply(From, {error, Reason}).

answer(Id, Frame, #state{calls = Calls, late = Late} = State) ->
    case Calls of
        #{Id := {From, Timer}} ->
            _ = is_reference(Timer) andalso erlang:cancel_timer(Timer),
            answered(From, Frame, State#state{calls = maps:remove(Id, Calls)});
        #{} ->
            {noreply, State#state{late = maps:remove(Id, Late)}}
    end.

answered(async, Frame, State) ->
    case py_wire:answer(Frame) of
        {ok, _} -> {noreply, State};
        {error, Error} -> {stop, {async_call_error, Error}, State};
        _ -> {stop, {protocol, Frame}, State}
    end;
answered(From, Frame, State) ->
    gen_server:reply(From, {ok, Frame}),
    {noreply, State}.

%%% What Python asks of Erlang

request(Frame, #state{port = Port}) ->
    Context = #{group_leader => group_leader(), wire => py_erlport_wire},
    case py_wire:request(Frame) of
        {print, Text} -> print(Text);
        {message, To, Message} -> py_outlet:deliver(To, Message);
        {call, _, _, _, _, _} = Call -> _ = py_request:call(Call, {self(), Port}, Context), ok;
        {handler_error, Error} -> {stop, {message_handler_error, Error}};
        error -> {stop, {protocol, Frame}}
    end.

%% A binary, as `io:put_chars/1' sends it, and an I/O request whose answer nobody reads: Python does not wait for it in ErlPort's protocol.
print(Text) ->
    group_leader() ! {io_request, self(), make_ref(), {put_chars, unicode, py_outlet:utf8(Text)}},
    ok.

stop_or_go(ok, State) -> {noreply, State};
stop_or_go({stop, Reason}, State) -> {stop, Reason, State}.

%%% Out

send_message(Frame, State) ->
    case send(Frame, State) of
        ok -> ok;
        {error, Text} -> logger:error("a message for Python was not sent: ~ts", [Text])
    end.

%% A port that has just closed says so in a message of its own.
send(Frame, #state{port = Port, options = #{packet := Packet, compressed := Level}}) ->
    Bytes = py_erlport_wire:compress(Frame, Level),
    Size = iolist_size(Bytes),
    case Size bsr (8 * Packet) of
        0 ->
            try port_command(Port, Bytes) of
                true -> ok
            catch
                error:badarg -> ok
            end;
        _ ->
            {error, lists:flatten(io_lib:format("~w bytes are too long for a packet of ~w", [Size, Packet]))}
    end.
