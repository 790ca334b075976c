"""ChatService: a line or two for each RPC."""

from __future__ import annotations

from typing import Any

from chat_service.logic import (
    cursors,
    history,
    offline,
    overview,
    own_view,
    readers,
    recall,
    save,
    search,
    send,
    standings,
    sync,
    typists,
)
from chat_service.logic.cursors import Move
from chat_service.server import views
from chat_service.svc import ServiceContext
from im.chat.v1 import chat_pb2 as pb
from im.chat.v1.chat_pb2_grpc import ChatServiceServicer
from im_common.errors import spelling
from im_common.runtime.context import identity


class ChatServicer(ChatServiceServicer):
    def __init__(self, svc: ServiceContext) -> None:
        self._svc = svc

    async def SendMessage(self, request: pb.SendMessageRequest, _: Any) -> pb.SendMessageResponse:
        with spelling(to="to_user_id", ext="ext_json"):
            chat = views.chat(request.content)
            chat.to = request.to_user_id
            sent = await send.send_message(self._svc, identity().user_id, chat)
        return pb.SendMessageResponse(placed=views.placed(sent))

    async def SendGroupMessage(
        self, request: pb.SendGroupMessageRequest, _: Any
    ) -> pb.SendGroupMessageResponse:
        with spelling(ext="ext_json"):
            chat = views.chat(request.content)
            chat.group_id = request.group_id
            sent = await send.send_message(self._svc, identity().user_id, chat)
        return pb.SendGroupMessageResponse(placed=views.placed(sent))

    async def GetHistory(self, request: pb.GetHistoryRequest, _: Any) -> pb.GetHistoryResponse:
        user_id = identity().user_id
        rows, more = await history.get_history(
            self._svc, user_id, request.conversation_id, views.bounds(request.page)
        )
        return pb.GetHistoryResponse(messages=views.messages(rows, user_id), has_more=more)

    async def GetChatHistory(
        self, request: pb.GetChatHistoryRequest, _: Any
    ) -> pb.GetChatHistoryResponse:
        rows, more = await history.get_chat_history(
            self._svc, identity().user_id, request.user_id, views.bounds(request.page)
        )
        return pb.GetChatHistoryResponse(
            messages=views.messages(rows, identity().user_id), has_more=more
        )

    async def GetGroupHistory(
        self, request: pb.GetGroupHistoryRequest, _: Any
    ) -> pb.GetGroupHistoryResponse:
        rows, more = await history.get_group_history(
            self._svc, identity().user_id, request.group_id, views.bounds(request.page)
        )
        return pb.GetGroupHistoryResponse(
            messages=views.messages(rows, identity().user_id), has_more=more
        )

    async def AckMessage(self, request: pb.AckMessageRequest, _: Any) -> pb.AckMessageResponse:
        user_id = identity().user_id
        await cursors.ack_message(self._svc, user_id, request.conversation_id, request.seq)
        return pb.AckMessageResponse()

    async def MarkAsRead(self, request: pb.MarkAsReadRequest, _: Any) -> pb.MarkAsReadResponse:
        user_id = identity().user_id
        read = await cursors.mark_as_read(self._svc, user_id, request.conversation_id, request.seq)
        return pb.MarkAsReadResponse(read_seq=read)

    async def AdvanceCursors(
        self, request: pb.AdvanceCursorsRequest, _: Any
    ) -> pb.AdvanceCursorsResponse:
        moves = [
            Move(m.user_id, m.conversation_id, m.delivered_seq, m.read_seq, m.connection_id)
            for m in request.moves
        ]
        refused = await cursors.advance_cursors(self._svc, moves, request.gateway)
        return pb.AdvanceCursorsResponse(
            refusals=[
                pb.CursorRefusal(
                    user_id=user_id, conversation_id=on, code=error.code, message=error.message
                )
                for (user_id, on), error in refused.items()
            ]
        )

    async def ListConversations(
        self, request: pb.ListConversationsRequest, _: Any
    ) -> pb.ListConversationsResponse:
        user_id = identity().user_id
        page, next_cursor = await overview.list_conversations(
            self._svc, user_id, limit=request.limit, cursor=request.cursor
        )
        return pb.ListConversationsResponse(
            conversations=[views.conversation(item, user_id) for item in page],
            next_cursor=next_cursor,
        )

    async def GetUnreadCount(
        self, _request: pb.GetUnreadCountRequest, _: Any
    ) -> pb.GetUnreadCountResponse:
        counts = await overview.get_unread_count(self._svc, identity().user_id)
        return pb.GetUnreadCountResponse(total=sum(counts.values()), conversations=counts)

    async def GetUnreadMessages(
        self, request: pb.GetUnreadMessagesRequest, _: Any
    ) -> pb.GetUnreadMessagesResponse:
        user_id = identity().user_id
        rows = await overview.get_unread_messages(
            self._svc, user_id, request.conversation_id, request.limit
        )
        return pb.GetUnreadMessagesResponse(messages=views.messages(rows, user_id))

    async def Sync(self, request: pb.SyncRequest, _: Any) -> pb.SyncResponse:
        user_id = identity().user_id
        deltas, more = await sync.sync(self._svc, user_id, request.cursors, request.limit)
        return pb.SyncResponse(
            conversations=[views.delta(delta, user_id) for delta in deltas], has_more=more
        )

    async def ListReaders(self, request: pb.ListReadersRequest, _: Any) -> pb.ListReadersResponse:
        user_ids, last = await readers.list_readers(
            self._svc,
            request.user_id,
            request.group_id,
            request.seq,
            after=request.after_user_id,
            limit=request.limit,
        )
        return pb.ListReadersResponse(
            user_ids=user_ids, has_more=last is not None, upto_user_id=last or 0
        )

    async def SyncFor(self, request: pb.SyncForRequest, _: Any) -> pb.SyncForResponse:
        user_id = request.user_id
        deltas, more = await sync.sync(self._svc, user_id, request.cursors, request.limit)
        return pb.SyncForResponse(
            conversations=[views.delta(delta, user_id) for delta in deltas], has_more=more
        )

    async def RecallMessage(
        self, request: pb.RecallMessageRequest, _: Any
    ) -> pb.RecallMessageResponse:
        done = await recall.recall_message(self._svc, identity().user_id, request.message_id)
        return pb.RecallMessageResponse(conversation_id=done.conversation_id, seq=done.seq)

    async def RecallFor(self, request: pb.RecallForRequest, _: Any) -> pb.RecallForResponse:
        done = await recall.recall_message(self._svc, request.user_id, request.message_id)
        return pb.RecallForResponse(conversation_id=done.conversation_id, seq=done.seq)

    async def SaveMessage(self, request: pb.SaveMessageRequest, _: Any) -> pb.SaveMessageResponse:
        place = await save.save_message(self._svc, request.message)
        return pb.SaveMessageResponse(
            placed=pb.Placed(
                client_msg_id=request.message.content.client_msg_id,
                message_id=place.message_id,
                conversation_id=place.conversation_id,
                seq=place.seq,
                timestamp=place.timestamp,
            )
        )

    async def PullOfflineMessages(
        self, request: pb.PullOfflineMessagesRequest, _: Any
    ) -> pb.PullOfflineMessagesResponse:
        batch = await offline.pull_offline_messages(
            self._svc, identity().user_id, request.confirm_batch_id, request.limit
        )
        return pb.PullOfflineMessagesResponse(
            batch_id=batch.batch_id,
            frames=[frame.decode() for frame in batch.frames],
            remaining=batch.remaining,
        )

    async def DeleteMessage(
        self, request: pb.DeleteMessageRequest, _: Any
    ) -> pb.DeleteMessageResponse:
        await own_view.delete_message(self._svc, identity().user_id, request.message_id)
        return pb.DeleteMessageResponse()

    async def ClearConversation(
        self, request: pb.ClearConversationRequest, _: Any
    ) -> pb.ClearConversationResponse:
        cleared = await own_view.clear_conversation(
            self._svc, identity().user_id, request.conversation_id
        )
        return pb.ClearConversationResponse(cleared_seq=cleared)

    async def PinConversation(
        self, request: pb.PinConversationRequest, _: Any
    ) -> pb.PinConversationResponse:
        user_id = identity().user_id
        await own_view.pin_conversation(self._svc, user_id, request.conversation_id, request.pinned)
        return pb.PinConversationResponse()

    async def MuteConversation(
        self, request: pb.MuteConversationRequest, _: Any
    ) -> pb.MuteConversationResponse:
        user_id = identity().user_id
        await own_view.mute_conversation(self._svc, user_id, request.conversation_id, request.muted)
        return pb.MuteConversationResponse()

    async def RelayTyping(self, request: pb.RelayTypingRequest, _: Any) -> pb.RelayTypingResponse:
        typing = [
            typists.Typing(typist.user_id, typist.to_user_id, typist.group_id)
            for typist in request.typing
        ]
        await typists.relay_typing(self._svc, typing, request.gateway)
        return pb.RelayTypingResponse()

    async def ListGroupStandings(
        self, request: pb.ListGroupStandingsRequest, _: Any
    ) -> pb.ListGroupStandingsResponse:
        found = await standings.list_group_standings(self._svc, request.user_ids)
        return pb.ListGroupStandingsResponse(
            users=[
                pb.UserGroups(user_id=user_id, groups=[pb.UserGroup(**g._asdict()) for g in of_one])
                for user_id, of_one in found.items()
            ]
        )

    async def SearchMessages(
        self, request: pb.SearchMessagesRequest, _: Any
    ) -> pb.SearchMessagesResponse:
        user_id = identity().user_id
        rows, next_cursor = await search.search_messages(
            self._svc,
            user_id,
            request.query,
            request.conversation_id,
            limit=request.limit,
            cursor=request.cursor,
        )
        return pb.SearchMessagesResponse(
            messages=views.messages(rows, user_id), next_cursor=next_cursor
        )
